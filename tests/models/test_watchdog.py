"""What hangs without letting Python run is ended, with its reason."""

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


def test_who_is_done_in_time_goes_on():
    done = run(limit=25, work=0.1)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
