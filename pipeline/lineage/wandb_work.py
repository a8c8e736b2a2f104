"""What `mirror` and `check` do, in a process that can be ended at any time."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from pipeline.lineage import target as wandb_target
from pipeline.lineage.check import check as compare
from pipeline.lineage.mirror import mirror as copy
from pipeline.lineage.quiet import Quiet
from pipeline.metadata.graph import MetadataSource, StoreError
from pipeline.metadata.stores import opened

Ended = tuple[int | None, str]
"""Exit status and last line; None and a reason where the work failed."""


def attempt(arguments: argparse.Namespace, trouble: Callable[[str], None]) -> Ended:
    """Does what `arguments.command` says.

    Args:
        arguments: the command line.
        trouble: called with what goes wrong while the work goes on.
    """
    wandb_target.scrub_environment()
    terminal = Quiet(arguments.verbose)
    try:
        with opened(arguments.metadata, arguments.run) as source:
            if arguments.command == "check":
                return _check(source, arguments, terminal)
            return _mirror(source, arguments, terminal, trouble)
    except StoreError as error:
        return 2, f"error: {error}"
    except Exception as error:
        return None, wandb_target.reason(error)
    finally:
        terminal.close()


def _mirror(
    source: MetadataSource, arguments, terminal: Quiet, trouble: Callable[[str], None]
) -> Ended:
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


def _check(source: MetadataSource, arguments, terminal: Quiet) -> Ended:
    target = wandb_target.Target(arguments.project, arguments.entity)
    found = 0
    for problem in compare(source, target, arguments.run):
        terminal.line(problem)
        found += 1
    if not found:
        return 0, f"{target} has all that the store has"
    return 1, f"{found} difference{'s' if found > 1 else ''}"
