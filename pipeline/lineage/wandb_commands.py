"""The two commands that talk to Weights & Biases: `mirror` and `check`."""

from __future__ import annotations

import argparse
import shlex
import time

from pipeline.lineage import target as wandb_target
from pipeline.lineage import watchdog
from pipeline.lineage.check import check as compare
from pipeline.lineage.graph import Source
from pipeline.lineage.mirror import mirror as copy
from pipeline.lineage.quiet import Quiet


def mirror(source: Source, arguments: argparse.Namespace) -> None:
    """Mirrors; prints one line and ends the process: 0 in step, 1 not."""
    scratch = wandb_target.scrub_environment()
    with Quiet(arguments.verbose) as terminal:

        def late():
            reason = f"unfinished after {arguments.deadline:g} s"
            terminal.last_line(f"not mirrored: {reason}; {again(arguments)}")

        with watchdog.deadline(arguments.deadline, scratch, late):
            status, text = _attempt(source, arguments, terminal)
        terminal.line(text)
    # Exit handlers of W&B's client may wait for a server that is gone.
    watchdog.end_process(status, scratch)


def check(source: Source, arguments: argparse.Namespace) -> None:
    """Prints each difference and ends the process: 0 none, 1 some, or not compared."""
    scratch = wandb_target.scrub_environment()
    with Quiet() as terminal:

        def late():
            terminal.line(f"not compared: unfinished after {arguments.deadline:g} s")

        found = 0
        with watchdog.deadline(arguments.deadline, scratch, late):
            try:
                target = wandb_target.Target(arguments.project, arguments.entity)
                for problem in compare(source, target, arguments.run):
                    terminal.line(problem)
                    found += 1
                last = f"{found} difference{'s' if found > 1 else ''}"
                last = last if found else f"{target} has all that the store has"
            except Exception as error:
                found, last = 1, f"not compared: {_reason(error)}"
        terminal.line(last)
    watchdog.end_process(int(bool(found)), scratch)


def again(arguments: argparse.Namespace) -> str:
    """The command that catches up."""
    words = ["python", "-m", "pipeline.lineage", "mirror"]
    for name in ("metadata", "project", "entity", "run"):
        if value := getattr(arguments, name):
            words += [f"--{name}", value]
    return f"catch up later by: {shlex.join(words)}"


def _attempt(source, arguments, terminal: Quiet) -> tuple[int, str]:
    started = time.monotonic()
    try:
        target = wandb_target.Target(arguments.project, arguments.entity, tuple(arguments.upload))
        done = copy(source, target, arguments.deadline, arguments.run, terminal.progress)
    except Exception as error:
        return 1, f"not mirrored: {_reason(error)}; {again(arguments)}"
    waiting = f"; {done.waiting} still running" if done.waiting else ""
    if not done.written:
        return 0, f"nothing new for {target}{waiting}"
    seconds = time.monotonic() - started
    text = f"mirrored {done.written} executions into {target} and read them back"
    return 0, f"{text}, {seconds:.0f} s{waiting}"


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
