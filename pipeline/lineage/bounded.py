"""Work in a process of its own, which ends at a deadline whatever it is waiting for."""

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
from typing import TypeVar

_PARENT_DEATH_SIGNAL = 1
Result = TypeVar("Result")


class UnfinishedError(RuntimeError):
    """The work did not come to its end; the message says why."""


def within(seconds: float, work: Callable[[Callable[[str], None]], Result]) -> Result:
    """Does some work in a process of its own, of which nothing is left afterwards.

    W&B's calls and its exit handlers can block without bound, and ML Metadata's keep the whole
    interpreter waiting with them, so that no thread of theirs could end the process. Temporary
    files of the work go into one folder, which is removed with it.

    Args:
        seconds: how long the work may take.
        work: is given a function that takes notes of what goes wrong while it goes on; returns
            something that can be pickled, and raises nothing.

    Returns:
        What the work returned.

    Raises:
        UnfinishedError: the time was over (the last note is told), the process died, or this one
            was told to stop, by Ctrl-C or SIGTERM.
    """
    _open_standard_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A fork takes no time, and nothing has started a thread yet.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    scratch = tempfile.mkdtemp(prefix="pawprint-lineage-")
    process = context.Process(target=_work, args=(work, sender, scratch))
    process.start()
    sender.close()
    until, note = time.monotonic() + seconds, ""
    try:
        while receiver.poll(max(0, until - time.monotonic())):
            ended, value = receiver.recv()
            if ended:
                return value
            note = f" ({value})"
        raise UnfinishedError(f"unfinished after {seconds:g} s{note}")
    except EOFError:
        process.join(1)
        raise UnfinishedError(f"its process ended with status {process.exitcode}") from None
    except KeyboardInterrupt:
        raise UnfinishedError("interrupted") from None
    finally:
        _end(process)
        shutil.rmtree(scratch, ignore_errors=True)


def _work(work: Callable, sender: Connection, scratch: str) -> None:
    # Ctrl-C reaches both processes: the other one ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    sender.send((True, work(lambda note: sender.send((False, note)))))


def _end(process: multiprocessing.Process) -> None:
    """Ends a process and all that it started."""
    import psutil

    try:
        started = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        started = []
    process.kill()
    for child in started:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    process.join()


def _open_standard_streams() -> None:
    """Where standard output or error were closed, their numbers would go to the next file."""
    for number in (1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY)
