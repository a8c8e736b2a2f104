"""Shards on all cores: worker processes that import only what a shard needs.

Plain subprocesses, not multiprocessing: a fork of a process with TensorFlow's threads is unsafe,
and spawn and forkserver import the caller's main module again, so that a script without a
`__main__` guard would start itself anew.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

_COMMAND = (
    "import sys; sys.path.insert(0, sys.argv[1]); from data.conversion.worker import main; main()"
)
_ROOT = str(Path(__file__).resolve().parents[2])


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def write_shards(
    jobs: Sequence[dict],
    folder: str,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[dict]:
    """Writes shards in worker processes; yields each report as it comes, in no fixed order.

    Closing the iterator stops the workers.

    Args:
        jobs: As `data.conversion.plan.Plan.shards`.
        folder: Where the shards go.
        workers: Processes; None takes one a core.
        progress: Called with the number of rows newly done, in the caller's thread.

    Raises:
        OSError: A photo cannot be read or a shard not be written, or a worker was killed.
        RuntimeError: A fault in the code; the text ends with its traceback.
    """
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    messages: queue.SimpleQueue = queue.SimpleQueue()
    started = [_start() for _ in range(min(workers or cores(), len(jobs)))]
    for process in started:
        threading.Thread(
            target=_feed, args=(process, waiting, folder, messages), daemon=True
        ).start()
    try:
        left = len(jobs)
        while left:
            kind, value = messages.get()
            if kind == "OSError":
                raise OSError(value)
            if kind == "bug":
                raise RuntimeError(value)
            if kind == "report":
                left -= 1
                yield value
            elif progress:
                progress(value)
    finally:
        for process in started:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with suppress(OSError):
                    stream.close()


def _start() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, _ROOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PAWPRINT_DATA_WORKER": "1"},
    )


def _feed(process: subprocess.Popen, waiting, folder: str, messages) -> None:
    """Hands one worker a shard after another and passes on what it says."""
    while True:
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            request = json.dumps({"job": job, "folder": folder}) + "\n"
            process.stdin.write(request.encode())
            process.stdin.flush()
            done = 0
            for line in process.stdout:
                answer = json.loads(line)
                if "done" in answer:
                    messages.put(("progress", answer["done"] - done))
                    done = answer["done"]
                    continue
                if "error" in answer:
                    messages.put((answer["kind"], f"{job['file']}: {answer['error']}"))
                    return
                messages.put(("progress", len(job["rows"]) - done))
                messages.put(("report", answer["report"]))
                break
            else:
                raise BrokenPipeError
        except (OSError, ValueError):
            messages.put(("OSError", f"{job['file']}: {_how_it_ended(process.wait())}"))
            return


def _how_it_ended(status: int) -> str:
    ended = f"a worker process ended with status {status}"
    if status == -signal.SIGKILL:
        return f"{ended}: killed, as the system does when memory runs out (fewer workers take less)"
    return ended
