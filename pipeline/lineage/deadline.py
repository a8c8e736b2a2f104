"""Runs work in a child process with a deadline."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

_PARENT_DEATH_SIGNAL = 1
Result = TypeVar("Result")


class UnfinishedError(RuntimeError):
    """The work was not completed. The message says why."""


def run_with_deadline(seconds: float, work: Callable[[Callable[[str], None]], Result]) -> Result:
    """Runs work in a child process and kills it, with all its children, at the deadline.

    A process rather than a thread: calls and exit handlers of W&B and ML Metadata can block the
    whole interpreter without bound. Temporary files of the work are removed with the process.

    Args:
        seconds: Time limit of the work.
        work: Takes a function that reports warnings, and returns a picklable result. Must not
            raise.

    Returns:
        The result of the work.

    Raises:
        UnfinishedError: The deadline passed (the message has the last warning), the child process
            died, or this process was interrupted by Ctrl-C or SIGTERM.

    Example:
        >>> run_with_deadline(10, lambda warn: 6 * 7)
        42
    """
    _open_standard_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Forking is fast, and safe here: no thread was started yet.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    scratch = tempfile.mkdtemp(prefix="pawprint-lineage-")
    process = context.Process(target=_work, args=(work, sender, scratch))
    process.start()
    sender.close()
    until, warning = time.monotonic() + seconds, ""
    try:
        while receiver.poll(max(0, until - time.monotonic())):
            finished, value = receiver.recv()
            if finished:
                return value
            warning = f" ({value})"
        raise UnfinishedError(f"unfinished after {seconds:g} s{warning}")
    except EOFError:
        process.join(1)
        raise UnfinishedError(f"its process ended with status {process.exitcode}") from None
    except KeyboardInterrupt:
        raise UnfinishedError("interrupted") from None
    finally:
        _kill(process)
        shutil.rmtree(scratch, ignore_errors=True)


def _work(work: Callable[[Callable[[str], None]], Any], sender: Connection, scratch: str) -> None:
    # Ctrl-C reaches both processes; the parent kills this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    sender.send((True, work(lambda warning: sender.send((False, warning)))))


def _kill(process: BaseProcess) -> None:
    """Kills a process and its descendants."""
    import psutil

    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    process.kill()
    for descendant in descendants:
        try:
            descendant.kill()
        except psutil.NoSuchProcess:
            continue
    process.join()


def _open_standard_streams() -> None:
    """Opens closed standard streams: the next opened file would get their descriptor."""
    for number in (1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY)
