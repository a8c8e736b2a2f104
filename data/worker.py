"""A worker process: takes shards as JSON lines on stdin, answers on stdout.

Started by `data.pool`. It ends when its stdin closes, so it does not outlive a killed parent.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback

from data.shard import write_shard_once

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

    for line in sys.stdin:
        request = json.loads(line)
        told = time.monotonic()

        def progress(done: int) -> None:
            nonlocal told
            if time.monotonic() - told > _REPORT_EVERY:
                told = time.monotonic()
                answer(done=done)

        try:
            answer(report=write_shard_once(request["job"], request["folder"], progress))
        except OSError as error:  # the disk or the store, not the photos: these are discarded
            answer(error=str(error), kind="OSError")
        except Exception:
            answer(error=traceback.format_exc(), kind="bug")
