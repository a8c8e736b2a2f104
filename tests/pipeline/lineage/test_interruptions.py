"""Killed and concurrent mirrors: the next pass completes, and nothing is copied twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.lineage import lease
from pipeline.lineage.lease import LeaseError, hold_lease
from pipeline.metadata.stores import open_source
from tests.conftest import REPOSITORY
from tests.pipeline.lineage.conftest import PROJECT, mirror, start
from tests.pipeline.lineage.truth import Held, recorded, states, versions

# (operation, its number): the process is killed when the server is asked for it.
POINTS = [
    ("UpsertBucket", 1),
    ("CreateArtifact", 1),
    ("CommitArtifact", 2),
    ("UseArtifact", 1),
    ("UpsertBucket", 6),
    ("RunOutputArtifacts", 1),
]


@pytest.mark.parametrize(
    "point",
    [POINTS[2], *(pytest.param(p, marks=pytest.mark.slow) for p in POINTS if p != POINTS[2])],
)
def test_a_killed_mirror_is_completed_by_the_next(point, cheap, server, tmp_path):
    name, number = point
    environment = server.environment() | {"TMPDIR": str(tmp_path)}
    arguments = ("mirror", "--metadata", cheap, "--project", PROJECT)
    process = start(*arguments, environment=environment)
    seen = []

    def kill(operation):
        seen.append(operation.name)
        if seen.count(name) == number and operation.name == name:
            os.killpg(process.pid, signal.SIGKILL)

    server.before = kill
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    server.before = lambda operation: None
    assert Held(server, cheap).edges != recorded(cheap) or name == "RunOutputArtifacts"
    started = time.monotonic()
    said = mirror(cheap, server)
    assert said.status == 0, said.output + said.errors
    assert time.monotonic() - started < 30, "the lease of a dead process is taken over at once"
    held = Held(server, cheap)
    assert held.edges == recorded(cheap) and held.states == states(cheap)
    assert set(versions(server).values()) == {1}


def test_two_concurrent_mirrors_make_one_copy(cheap, server):
    arguments = ("mirror", "--metadata", cheap, "--project", PROJECT)
    both = [start(*arguments, environment=server.environment()) for _ in range(2)]
    outputs = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    held = Held(server, cheap)
    assert held.edges == recorded(cheap) and held.states == states(cheap)
    assert set(versions(server).values()) == {1}
    assert server.mutations().count("CreateArtifact") == len(recorded(cheap)["made"])
    assert sum("nothing new" in output for output in outputs) == 1, outputs


def test_a_lease_has_one_holder(cheap):
    one, two = open_source(str(cheap)), open_source(str(cheap))
    with (
        hold_lease(one, "project", seconds=60, wait=0),
        pytest.raises(LeaseError, match="another mirror is running"),
        hold_lease(two, "project", seconds=60, wait=0),
    ):
        pass
    with hold_lease(two, "project", 60, 0), hold_lease(one, "another project", 60, 0):
        pass


def test_concurrent_processes_take_a_lease_in_turn(cheap, tmp_path):
    """Each holder writes two lines; none writes between those of another."""
    log = tmp_path / "log"
    takers = [
        subprocess.Popen([sys.executable, "-c", _TAKER, str(cheap), str(log)], cwd=REPOSITORY)
        for _ in range(4)
    ]
    assert [taker.wait(60) for taker in takers] == [0] * 4
    lines = log.read_text().split()
    assert len(lines) == 8 and lines[::2] == lines[1::2]


_TAKER = """
import os, sys, time
from pipeline.lineage.lease import hold_lease
from pipeline.metadata.stores import open_source
source = open_source(sys.argv[1])
with hold_lease(source, "turns", 60, 50), open(sys.argv[2], "a", buffering=1) as log:
    print(os.getpid(), file=log)
    time.sleep(0.3)
    print(os.getpid(), file=log)
"""


def test_a_host_with_a_fast_clock_waits(cheap, monkeypatch):
    source = open_source(str(cheap))
    with hold_lease(source, "shared", seconds=60, wait=0):
        ahead = time.time() + 60 + lease.CLOCK_SKEW_S - 5
        monkeypatch.setattr(lease, "_identity", lambda: {"host": "elsewhere"})
        monkeypatch.setattr(lease.time, "time", lambda: ahead)
        with pytest.raises(LeaseError), hold_lease(source, "shared", seconds=60, wait=0):
            pass


def test_an_expired_lease_of_another_host_is_taken(cheap):
    source = open_source(str(cheap))
    holder = {"host": "elsewhere", "process": 7, "started": "1"}
    source.create_note("shared/1", json.dumps(holder | {"expires": time.time() + 2}))
    with pytest.raises(LeaseError, match="elsewhere"), hold_lease(source, "shared", 60, 0):
        pass
    with hold_lease(source, "shared", seconds=60, wait=10):
        pass
