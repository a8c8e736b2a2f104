"""The two commands that talk to Weights & Biases: `mirror` and `check`."""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable

from pipeline.lineage import bounded, catch_up
from pipeline.lineage import target as wandb_target
from pipeline.lineage.check import check as compare
from pipeline.lineage.mirror import mirror as copy
from pipeline.lineage.quiet import Quiet
from pipeline.lineage.stores import StoreError, opened

_FAILED = 1
_CLEAR_LINE = "\r\x1b[K"


def mirror(arguments: argparse.Namespace) -> int:
    """Mirrors; prints one line. Exit status 0 in step, 1 not, 2 a store that cannot be read."""
    words = catch_up.words(
        arguments.metadata,
        arguments.project,
        arguments.entity,
        arguments.run,
        arguments.upload,
    )
    return _bounded(arguments, _mirror, "not mirrored", f"; {catch_up.hint(words)}")


def check(arguments: argparse.Namespace) -> int:
    """Prints each difference. Exit status 0 none, 1 some or not compared, 2 as for `mirror`."""
    return _bounded(arguments, _check, "not compared")


def _bounded(arguments, work, failure: str, advice: str = "") -> int:
    try:
        attempt = functools.partial(_attempt, arguments, work)
        status, text = bounded.within(arguments.deadline, attempt)
    except bounded.UnfinishedError as error:
        status, text = None, str(error)
        if sys.stdout and sys.stdout.isatty():
            print(_CLEAR_LINE, end="")  # A bar of progress may stand there.
    if status is None:
        status, text = _FAILED, f"{failure}: {text}{advice}"
    print(text, file=sys.stderr if status == 2 else sys.stdout)
    return status


def _attempt(arguments, work, trouble: Callable[[str], None]) -> tuple[int | None, str]:
    """Exit status and last line; None and a reason where the work failed."""
    wandb_target.scrub_environment()
    terminal = Quiet(arguments.verbose)
    try:
        with opened(arguments.metadata, arguments.run) as source:
            return work(source, arguments, terminal, trouble)
    except StoreError as error:
        return 2, f"error: {error}"
    except Exception as error:
        return None, wandb_target.reason(error)
    finally:
        terminal.close()


def _mirror(source, arguments, terminal: Quiet, trouble) -> tuple[int | None, str]:
    started = time.monotonic()
    target = wandb_target.Target(arguments.project, arguments.entity, tuple(arguments.upload))
    done = copy(
        source,
        target,
        arguments.deadline,
        arguments.run,
        arguments.again,
        terminal.progress,
        trouble,
    )
    waiting = f"; {done.waiting} still running" if done.waiting else ""
    if done.refused:
        more = f" (and {len(done.refused) - 1} more)" if len(done.refused) > 1 else ""
        return None, f"{done.refused[0]}{more}; mirrored {done.written} others{waiting}"
    if not done.written:
        return 0, f"nothing new for {target}{waiting}"
    seconds = time.monotonic() - started
    text = f"mirrored {done.written} executions into {target} and read them back"
    return 0, f"{text}, {seconds:.0f} s{waiting}"


def _check(source, arguments, terminal: Quiet, _) -> tuple[int, str]:
    target = wandb_target.Target(arguments.project, arguments.entity)
    found = 0
    for problem in compare(source, target, arguments.run):
        terminal.line(problem)
        found += 1
    if not found:
        return 0, f"{target} has all that the store has"
    return _FAILED, f"{found} difference{'s' if found > 1 else ''}"
