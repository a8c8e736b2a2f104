"""A worker process: takes shards as JSON lines on stdin, answers on stdout.

`data.conversion.pool` starts it. It ends when its stdin does: a worker that outlives its killed
parent would write into a folder that another conversion has resumed.
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

from data.conversion.shard import write_shard_once
from data.errors import DataError

_REPORT_EVERY = 0.2  # seconds between progress lines


def main() -> None:
    """Serves jobs until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C ends
    # Whatever a library prints must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(**message) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    lines: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    while True:
        request = json.loads(lines.get())
        told = time.monotonic()

        def progress(done: int) -> None:
            nonlocal told
            if time.monotonic() - told > _REPORT_EVERY:
                told = time.monotonic()
                answer(done=done)

        try:
            answer(report=write_shard_once(request["job"], request["folder"], progress))
        except (OSError, MemoryError, DataError) as error:  # not the photos: these are discarded
            answer(error=str(error) or type(error).__name__, kind="OSError")
        except Exception:
            answer(error=traceback.format_exc(), kind="bug")


def _listen(lines: queue.SimpleQueue) -> None:
    """Passes on what comes, and ends the process at the end of stdin, whatever it is doing."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)
