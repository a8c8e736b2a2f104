"""Real training clusters on this machine: one process a task, connected by TF_CONFIG."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

WORKER = """
import json, sys
from types import SimpleNamespace
from models import trainer
trainer.run_fn(SimpleNamespace(**json.loads(sys.argv[1])))
"""


def addresses(count: int) -> list[str]:
    """Addresses of free ports."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for taken in sockets:
            taken.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{taken.getsockname()[1]}" for taken in sockets]


def members(workers: int, chief: bool) -> dict[str, list[str]]:
    """A cluster as in TF_CONFIG."""
    free = addresses(workers)
    return {"chief": free[:1], "worker": free[1:]} if chief else {"worker": free}


def start(
    members: dict, kind: str, index: int, fn_args: dict, log: Path, command=None, changes=()
) -> subprocess.Popen:
    """Starts one task; its output goes to `log`.

    Args:
        members: the cluster; an empty one leaves TF_CONFIG out, for a process alone.
        kind: the task's kind.
        index: its number within its kind.
        fn_args: arguments of run_fn, where `command` is not given.
        log: file for its output.
        command: another command line to run.
        changes: variables of the environment; None takes one away.
    """
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_USE_LEGACY_KERAS": "1",
        # Each task stands for a machine of its own.
        "TMPDIR": str(log.parent / f"tmp-{kind}-{index}"),
    }
    if members:
        task = {"type": kind, "index": index}
        environment["TF_CONFIG"] = json.dumps({"cluster": members, "task": task})
    environment |= dict(changes)
    environment = {name: value for name, value in environment.items() if value is not None}
    Path(environment["TMPDIR"]).mkdir(parents=True, exist_ok=True)
    command = command or [sys.executable, "-c", WORKER, json.dumps(fn_args)]
    return subprocess.Popen(
        command, env=environment, stdout=log.open("a"), stderr=subprocess.STDOUT
    )


def start_all(
    members: dict, fn_args: dict, folder: Path, command=None, changes=()
) -> list[subprocess.Popen]:
    """Starts all tasks, or one alone; logs go to `<folder>/<kind>-<index>.log`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        start(members, kind, index, fn_args, folder / f"{kind}-{index}.log", command, changes)
        for kind, tasks in (members or {"worker": [""]}).items()
        for index in range(len(tasks))
    ]


def wait(processes: list[subprocess.Popen], timeout: float) -> list[int]:
    """Exit statuses; those still alive after `timeout` seconds are killed and fail the test."""
    deadline = time.monotonic() + timeout
    try:
        return [process.wait(max(0.1, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


def logs(folder: Path) -> str:
    """The ends of all logs, for messages."""
    ends = (f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(folder.glob("*.log")))
    return "\n".join(ends)
