"""The work of `mirror` and `check`, in a process that can be killed at any time."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from pipeline.lineage import wandb_project
from pipeline.lineage.check import check
from pipeline.lineage.mirror import mirror
from pipeline.lineage.terminal import Terminal
from pipeline.lineage.wandb_project import WandbProject
from pipeline.metadata.graph import MetadataSource, StoreError
from pipeline.metadata.stores import opened

Outcome = tuple[int | None, str]
"""Exit status and last line; None and the reason if the work failed."""


def run_command(arguments: argparse.Namespace, warn: Callable[[str], None]) -> Outcome:
    """Runs `arguments.command`.

    Args:
        arguments: The parsed command line.
        warn: Called with each problem that does not end the work.
    """
    wandb_project.clean_environment()
    terminal = Terminal(arguments.verbose)
    try:
        with opened(arguments.metadata, arguments.run) as source:
            if arguments.command == "check":
                return _check(source, arguments, terminal)
            return _mirror(source, arguments, terminal, warn)
    except StoreError as error:
        return 2, f"error: {error}"
    except Exception as error:
        return None, wandb_project.first_line(error)
    finally:
        terminal.close()


def _mirror(
    source: MetadataSource,
    arguments: argparse.Namespace,
    terminal: Terminal,
    warn: Callable[[str], None],
) -> Outcome:
    started = time.monotonic()
    project = WandbProject(arguments.project, arguments.entity, tuple(arguments.upload))
    result = mirror(
        source,
        project,
        arguments.deadline,
        arguments.run,
        arguments.again,
        terminal.progress,
        warn,
    )
    waiting = f"; {result.waiting} still running" if result.waiting else ""
    if result.rejected:
        first, more = result.rejected[0], len(result.rejected) - 1
        others = f" (and {more} more)" if more else ""
        return None, f"{first}{others}; mirrored {result.written} others{waiting}"
    if not result.written:
        return 0, f"nothing new for {project}{waiting}"
    seconds = time.monotonic() - started
    text = f"mirrored {result.written} executions into {project} and verified them"
    return 0, f"{text}, {seconds:.0f} s{waiting}"


def _check(source: MetadataSource, arguments: argparse.Namespace, terminal: Terminal) -> Outcome:
    project = WandbProject(arguments.project, arguments.entity)
    found = 0
    for problem in check(source, project, arguments.run):
        terminal.line(problem)
        found += 1
    if not found:
        return 0, f"{project} has all executions of the store"
    return 1, f"{found} difference{'s' if found > 1 else ''}"
