"""Kills a process that hangs in TensorFlow's native code, which blocks the interpreter."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

# A separate process: a thread or a signal handler would wait for the interpreter's lock. Its
# standard input is closed when the work is done or the watched process has ended.
_WATCH = """
import os, select, signal, sys
seconds, process, message = sys.argv[1:]
if not select.select([sys.stdin], [], [], float(seconds))[0]:
    print(message, file=sys.stderr, flush=True)
    os.kill(int(process), signal.SIGKILL)
"""


@contextlib.contextmanager
def limit(seconds: float, message: str) -> Iterator[None]:
    """Kills this process unless the body of the `with` statement finishes in time.

    Args:
        seconds: time limit of the body.
        message: message for standard error when the process is killed.
    """
    command = [sys.executable, "-I", "-S", "-c", _WATCH, str(seconds), str(os.getpid()), message]
    with subprocess.Popen(command, stdin=subprocess.PIPE):
        yield
