"""Ends this process at a deadline, whatever W&B's client is waiting for."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def deadline(seconds: float, tell: Callable[[], None]) -> Iterator[None]:
    """Unless the block ends before, calls `tell` after `seconds` and ends the process with 1.

    W&B's calls can block without bound and its exit handlers too: neither is asked to stop.
    """

    def end():
        tell()
        end_process(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def end_process(status: int) -> None:
    """Ends this process and those that it started, without any exit handler."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        try:
            child.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    os._exit(status)
