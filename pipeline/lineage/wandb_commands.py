"""The commands that access Weights & Biases: `mirror` and `check`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from pipeline.lineage import catch_up, deadline

_FAILED = 1
_CLEAR_LINE = "\r\x1b[K"


def mirror(arguments: argparse.Namespace) -> int:
    """Mirrors the store and prints one line.

    Returns:
        Exit status: 0 if everything was mirrored; 1 if not; 2 if the store cannot be read.
    """
    command = catch_up.mirror_command(
        arguments.metadata,
        arguments.project,
        arguments.entity,
        arguments.run,
        arguments.upload,
    )
    return _run(arguments, "not mirrored", f"; {catch_up.hint(command)}")


def check(arguments: argparse.Namespace) -> int:
    """Compares the store with the project and prints each difference.

    Returns:
        Exit status: 0 without differences; 1 with differences or if not compared; 2 if the store
        cannot be read.
    """
    return _run(arguments, "not compared")


def _run(arguments: argparse.Namespace, failure: str, hint: str = "") -> int:
    def work(warn: Callable[[str], None]) -> tuple[int | None, str]:
        # Imported in the child process: the parent only waits and stays small.
        from pipeline.lineage import wandb_work

        return wandb_work.run_command(arguments, warn)

    try:
        status, text = deadline.run_with_deadline(arguments.deadline, work)
    except deadline.UnfinishedError as error:
        status, text = None, str(error)
        if sys.stdout and sys.stdout.isatty():
            print(_CLEAR_LINE, end="")  # removes the progress bar of the killed process
    if status is None:
        status, text = _FAILED, f"{failure}: {text}{hint}"
    print(text, file=sys.stderr if status == 2 else sys.stdout)
    return status
