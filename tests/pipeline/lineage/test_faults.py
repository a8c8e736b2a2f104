"""Server faults: the mirror ends in time, says why, and the next pass completes."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.pipeline.lineage.conftest import PROJECT, mirror, run, start
from tests.pipeline.lineage.truth import Held, recorded, versions
from tests.standins.wandb.server import KEY, WandbStandIn

DEADLINE = 14
STATUS = {401: "rejects the API key", 403: "denies", 404: "no W&B", 429: "limits", 500: "500"}


def failed(said, started: float, reason: str, deadline: float = DEADLINE) -> str:
    """Asserts one line with the reason; returns the command that it names."""
    assert time.monotonic() - started < deadline + 4
    assert (said.status, said.errors) == (1, ""), said.output + said.errors
    [line] = said.output.splitlines()
    assert line.startswith("not mirrored: ") and reason in line, line
    assert KEY not in line
    command = line.partition("catch up later by: ")[2]
    assert command.startswith("python -m pipeline.lineage mirror ")
    return command


def catches_up(command: str, store, server: WandbStandIn) -> None:
    said = run(*shlex.split(command)[3:], environment=server.environment())
    assert said.status == 0, said.output + said.errors
    assert Held(server, store).edges == recorded(store)
    assert set(versions(server).values()) == {1}


@pytest.mark.parametrize("status", STATUS)
def test_a_server_that_answers_with_an_error(status, cheap, server):
    server.fail(lambda request: True, status)
    started = time.monotonic()
    said = mirror(cheap, server, "--deadline", DEADLINE)
    command = failed(said, started, STATUS[status])
    assert time.monotonic() - started < 8, "an immediate error is reported immediately"
    if status == 500:
        server.heal()
        catches_up(command, cheap, server)


def test_a_server_that_refuses_connections(cheap):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        environment = {
            "WANDB_BASE_URL": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "WANDB_API_KEY": KEY,
        }
        started = time.monotonic()
        said = run("mirror", "--metadata", cheap, "--project", PROJECT, environment=environment)
    failed(said, started, "cannot be reached")


@pytest.mark.slow
def test_a_silent_server(cheap, server):
    server.hang()
    started = time.monotonic()
    failed(mirror(cheap, server, "--deadline", DEADLINE), started, "does not reply within 10 s")


def test_a_missing_or_invalid_key(cheap, server):
    started = time.monotonic()
    said = mirror(cheap, server, WANDB_API_KEY="", HOME="/nonexistent")
    failed(said, started, "the API key is missing: set WANDB_API_KEY")
    said = mirror(cheap, server, WANDB_API_KEY="f" * 40)
    failed(said, started, "rejects the API key (WANDB_API_KEY)")


@pytest.mark.slow
def test_a_server_that_falls_silent_during_the_mirror(cheap, server):
    server.before = lambda operation: operation.name == "CommitArtifact" and server.hang()
    started = time.monotonic()
    said = mirror(cheap, server, "--deadline", DEADLINE)
    command = failed(said, started, f"unfinished after {DEADLINE} s")
    server.before = lambda operation: None
    server.heal()
    catches_up(command, cheap, server)


@pytest.mark.slow
def test_a_server_that_loses_its_data_during_the_mirror(cheap):
    with WandbStandIn() as server:
        server.before = lambda operation: operation.name == "UseArtifact" and server.lose()
        started = time.monotonic()
        said = mirror(cheap, server, "--deadline", DEADLINE)
        failed(said, started, f"unfinished after {DEADLINE} s")
    with WandbStandIn() as server:
        said = mirror(cheap, server)
        assert said.status == 0 and Held(server, cheap).edges == recorded(cheap)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "status", "reason"),
    [
        ("UpsertBucket", 401, "execution 1 (Make): Error uploading run: returned error 401"),
        ("UpsertBucket", 403, "execution 1 (Make): Error uploading run: returned error 403"),
        ("CreateArtifact", 404, "execution 1 (Make): ArtifactSaver.createArtifact: returned error"),
        ("CreateArtifact", 500, "giving up after 4 attempt(s)"),
        ("UseArtifact", 429, f"unfinished after {DEADLINE} s"),  # the client retries forever
    ],
)
def test_an_error_during_the_mirror(operation, status, reason, cheap, server):
    """Incomplete runs are reported, whether the client gives up or retries."""
    server.fail(lambda request: f"mutation {operation}".encode() in request.body, status)
    started = time.monotonic()
    deadline = DEADLINE if status == 429 else 2 * DEADLINE
    said = mirror(cheap, server, "--deadline", deadline)
    command = failed(said, started, reason, deadline)
    server.heal()
    catches_up(command, cheap, server)


@pytest.mark.slow
def test_a_server_slower_than_the_deadline(cheap, server):
    server.slow(1)
    started = time.monotonic()
    command = failed(mirror(cheap, server, "--deadline", DEADLINE), started, "unfinished after")
    server.slow(0.05)
    catches_up(command, cheap, server)


def test_lost_edges_are_reported(cheap, server):
    """A server that accepts everything and drops one edge."""

    def forget(operation):
        for held in list(server.project(PROJECT).all_runs.values()):
            held.inputs.clear()

    server.before = forget
    started = time.monotonic()
    said = mirror(cheap, server, "--deadline", 2 * DEADLINE)
    failed(said, started, "is incomplete in W&B", 2 * DEADLINE)


@pytest.mark.slow
def test_no_process_or_file_is_left(cheap, server, tmp_path):
    """After Ctrl-C, while W&B's client waits for an answer."""
    waits = threading.Event()

    def hang(operation):
        if operation.name == "CreateArtifact":
            server.hang()
            waits.set()

    server.before = hang
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    arguments = ("mirror", "--metadata", cheap, "--project", PROJECT)
    process = start(*arguments, environment=server.environment() | {"TMPDIR": str(temporary)})
    assert waits.wait(30)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=15)
    assert output.startswith("not mirrored: interrupted") and errors == ""
    assert os.listdir(temporary) == []
    time.sleep(0.5)
    listed = subprocess.run(
        [sys.executable, "-c", _LEFT, server.url], capture_output=True, text=True, check=True
    )
    assert listed.stdout.strip() == "", f"still there: {listed.stdout}"


_LEFT = """
import psutil, sys
for process in psutil.process_iter(["pid", "cmdline", "environ"]):
    environment = process.info["environ"] or {}
    if environment.get("WANDB_BASE_URL") == sys.argv[1]:
        print(process.info["pid"], process.info["cmdline"])
"""
