"""Ends a process that hangs in TensorFlow's own code, during which no line of Python runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

# A process of its own: a thread or a signal handler would wait for the interpreter's lock too.
# Its input ends when the work is done, or when the process that it watches is gone.
_WATCH = """
import os, select, signal, sys
seconds, process, message = sys.argv[1:]
if not select.select([sys.stdin], [], [], float(seconds))[0]:
    print(message, file=sys.stderr, flush=True)
    os.kill(int(process), signal.SIGKILL)
"""


@contextlib.contextmanager
def limit(seconds: float, message: str) -> Iterator[None]:
    """Kills this process, with a message on its standard error, unless left in time.

    Args:
        seconds: time that the work inside may take.
        message: what to say otherwise.
    """
    command = [sys.executable, "-I", "-S", "-c", _WATCH, str(seconds), str(os.getpid()), message]
    with subprocess.Popen(command, stdin=subprocess.PIPE):
        yield
