"""A local W&B server in a child process: the stand-in of the tests, or a broken one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class WandbServer:
    """A running server.

    Args:
        process: Process of `python -m tests.standins.wandb`.

    Attributes:
        environment: Variables that direct W&B's client to the server.
    """

    def __init__(self, process: subprocess.Popen[str]):
        assert process.stdin and process.stdout
        self._stdin, self._stdout = process.stdin, process.stdout
        self.environment: dict[str, str] = json.loads(self._stdout.readline())

    def requests(self) -> int:
        """Returns the number of requests so far."""
        self._stdin.write("\n")
        self._stdin.flush()
        return int(self._stdout.readline())


@contextmanager
def wandb_server(state: str = "") -> Iterator[WandbServer]:
    """Runs a server for the duration of a `with` block.

    Args:
        state: `refused`, `silent` or `500` for a broken server; "" for the stand-in.
    """
    command = [sys.executable, "-m", "tests.standins.wandb", *([state] if state else [])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield WandbServer(process)
