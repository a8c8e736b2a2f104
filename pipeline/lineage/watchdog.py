"""Ends this process at a deadline, whatever W&B's client is waiting for."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def deadline(seconds: float, scratch: str, tell: Callable[[], None]) -> Iterator[None]:
    """Unless the block ends before, calls `tell` after `seconds` and ends the process with 1.

    The folder `scratch` is removed with it.

    W&B's calls can block without bound and its exit handlers too: neither is asked to stop.
    """

    def end():
        tell()
        end_process(1, scratch)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def end_process(status: int, scratch: str) -> None:
    """Ends this process and those that it started, without exit handlers; removes a folder."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        try:
            child.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(status)
