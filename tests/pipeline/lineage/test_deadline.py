"""A mirror ends at its deadline and on signals, also while it waits for its store."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.pipeline.lineage.conftest import run, start


@pytest.fixture
def silent():
    """A port that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(20)
        yield listening


def arguments(silent: socket.socket, deadline: float, scheme: str = "mysql") -> list[str]:
    uri = f"{scheme}://me@127.0.0.1:{silent.getsockname()[1]}/metadata"
    return ["mirror", "--metadata", uri, "--upload", "model", "--deadline", str(deadline)]


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_a_silent_metadata_store_ends_at_the_deadline(scheme, silent):
    started = time.monotonic()
    words = arguments(silent, 2, scheme)
    said = run(*words, timeout=20)
    assert time.monotonic() - started < 6
    assert (said.status, said.errors) == (1, "")
    command = f"python -m pipeline.lineage mirror --metadata {words[2]} --project pawprint"
    advice = f"catch up later by: {command} --upload model"
    assert said.output == f"not mirrored: unfinished after 2 s; {advice}\n"


def waiting(silent: socket.socket, temporary: Path) -> tuple[subprocess.Popen, socket.socket]:
    """A mirror that waits for its store, and the connection on which it does."""
    process = start(*arguments(silent, 60), environment={"TMPDIR": str(temporary)})
    return process, silent.accept()[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_on_a_signal(number, silent, tmp_path):
    process, connection = waiting(silent, tmp_path)
    with connection:
        process.send_signal(number)
        output, errors = process.communicate(timeout=5)
    assert (process.returncode, errors) == (1, "")
    assert output.startswith("not mirrored: interrupted; catch up later by: ")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_mirror_leaves_no_process(silent, tmp_path):
    process, connection = waiting(silent, tmp_path)
    with connection:
        process.kill()
        process.communicate(timeout=5)
        connection.settimeout(5)
        assert connection.recv(1) == b""


def test_it_ends_at_the_deadline_without_standard_streams(silent):
    command = [sys.executable, "-m", "pipeline.lineage", *arguments(silent, 1)]
    with subprocess.Popen(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], cwd=REPOSITORY) as it:
        assert it.wait(10) == 1
