"""A process that hangs in native code is killed with a message."""

from __future__ import annotations

import signal
import subprocess
import sys

HANG = """
import ctypes, sys
from models.distributed import watchdog
with watchdog.limit(float(sys.argv[1]), "it hangs"):
    ctypes.PyDLL(None).usleep(int(float(sys.argv[2]) * 1e6))  # Keeps the interpreter's lock.
print("done")
"""


def run(limit: float, work: float) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", HANG, str(limit), str(work)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_a_hanging_process_is_killed_and_says_why():
    done = run(limit=0.5, work=25)
    assert done.returncode == -signal.SIGKILL
    assert (done.stdout, done.stderr) == ("", "it hangs\n")


def test_a_process_that_finishes_in_time_is_not_killed():
    done = run(limit=25, work=0.1)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
