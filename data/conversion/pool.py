"""Writes shards in worker processes, which import only the modules a shard needs.

These are plain subprocesses, not multiprocessing: a fork of a process with TensorFlow's threads is
unsafe, and spawn and forkserver import the caller's main module, which would run a script without a
`__main__` guard again.
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
from typing import Any

from data.conversion.plan import ShardJob, ShardReport

_COMMAND = (
    "import sys; sys.path.insert(0, sys.argv[1]); from data.conversion.worker import main; main()"
)
_ROOT = str(Path(__file__).resolve().parents[2])

_Messages = queue.SimpleQueue[tuple[str, Any]]


def cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def write_shards(
    jobs: Sequence[ShardJob],
    folder: str,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[ShardReport]:
    """Writes shards in worker processes.

    Closing the iterator stops the workers.

    Args:
        jobs: As `data.conversion.plan.ConversionPlan.shards`.
        folder: Folder of the shards.
        workers: Number of processes; None for one per core.
        progress: Called in the caller's thread with the number of rows done since the last call.

    Yields:
        The report of each shard when it is finished, in no fixed order.

    Raises:
        OSError: A photo cannot be read, a shard cannot be written, or a worker was killed.
        RuntimeError: An error in the code; the text ends with its traceback.
    """
    waiting: queue.SimpleQueue[ShardJob] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    messages: _Messages = queue.SimpleQueue()
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
            for stream in filter(None, (process.stdin, process.stdout)):
                with suppress(OSError):
                    stream.close()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, _ROOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PAWPRINT_DATA_WORKER": "1"},
    )


def _feed(
    process: subprocess.Popen[bytes],
    waiting: queue.SimpleQueue[ShardJob],
    folder: str,
    messages: _Messages,
) -> None:
    """Sends waiting jobs to a worker one by one, and forwards its answers."""
    assert process.stdin and process.stdout, "_start opens both pipes"
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
            messages.put(("OSError", f"{job['file']}: {_exit_text(process.wait())}"))
            return


def _exit_text(status: int) -> str:
    text = f"a worker process ended with status {status}"
    if status == -signal.SIGKILL:
        return f"{text}: killed, probably out of memory; set a lower number of workers"
    return text
