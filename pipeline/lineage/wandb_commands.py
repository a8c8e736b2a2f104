"""The two commands that talk to Weights & Biases, `mirror` and `check`, as the user sees them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from pipeline.lineage import bounded, catch_up

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
    return _bounded(arguments, "not mirrored", f"; {catch_up.hint(words)}")


def check(arguments: argparse.Namespace) -> int:
    """Prints each difference. Exit status 0 none, 1 some or not compared, 2 as for `mirror`."""
    return _bounded(arguments, "not compared")


def _bounded(arguments: argparse.Namespace, failure: str, advice: str = "") -> int:
    def work(trouble: Callable[[str], None]) -> tuple[int | None, str]:
        # Here, so that the process that only waits stays small.
        from pipeline.lineage import wandb_work

        return wandb_work.attempt(arguments, trouble)

    try:
        status, text = bounded.within(arguments.deadline, work)
    except bounded.UnfinishedError as error:
        status, text = None, str(error)
        if sys.stdout and sys.stdout.isatty():
            print(_CLEAR_LINE, end="")  # A bar of progress may stand there.
    if status is None:
        status, text = _FAILED, f"{failure}: {text}{advice}"
    print(text, file=sys.stderr if status == 2 else sys.stdout)
    return status
