"""A worker process: reads jobs as JSON lines from stdin, writes answers to stdout.

`data.conversion.pool` starts it. It exits when stdin closes: a worker that outlived its killed
parent would write to a folder that another conversion has resumed.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import Any

from data.conversion.shard import write_shard_once
from data.errors import DataError

_INTERVAL = 0.2  # seconds between progress lines


def main() -> None:
    """Serves jobs until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    # Output of libraries goes to stderr, so that it does not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    while True:
        request = json.loads(lines.get())
        written = time.monotonic()

        def progress(done: int) -> None:
            nonlocal written
            if time.monotonic() - written > _INTERVAL:
                written = time.monotonic()
                answer(done=done)

        try:
            answer(report=write_shard_once(request["job"], request["folder"], progress))
        except (OSError, MemoryError, DataError) as error:  # bad photos raise none of these
            answer(error=str(error) or type(error).__name__, kind="OSError")
        except Exception:
            answer(error=traceback.format_exc(), kind="bug")


def _listen(lines: queue.SimpleQueue[str]) -> None:
    """Forwards the lines of stdin, and exits the process at its end, even during a job."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)
