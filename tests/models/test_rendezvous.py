"""All processes connect within the time limit, or each reports who is missing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from models.distributed import rendezvous


@pytest.fixture
def addresses():
    """Free ports of this machine."""
    links = [socket.create_server(("", 0)) for _ in range(3)]
    found = {f"worker {i}": f"localhost:{s.getsockname()[1]}" for i, s in enumerate(links)}
    for link in links:
        link.close()
    return found


def start(addresses, me, timeout=10.0, delay=0.0):
    """Meets in a thread; the exception, or None, once it is done."""
    outcome: list[Exception | None] = []

    def run():
        time.sleep(delay)
        try:
            rendezvous.wait_for_all(addresses, me, "worker 0", timeout)
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result():
        thread.join(timeout + 10)
        assert outcome, f"{me} still waits"
        return outcome[0]

    return result


@pytest.mark.parametrize("late", ["worker 0", "worker 1", "worker 2"])
def test_all_continue_after_the_last_process_connects(addresses, late):
    results = [start(addresses, name, delay=1.0 if name == late else 0.0) for name in addresses]
    assert [result() for result in results] == [None, None, None]
    # TensorFlow takes the leader's port over.
    socket.create_server(("", int(addresses["worker 0"].split(":")[1]))).close()


def test_all_processes_report_who_is_missing(addresses):
    began = time.monotonic()
    results = [start(addresses, name, timeout=2.0) for name in ("worker 0", "worker 1")]
    for error in (result() for result in results):
        assert isinstance(error, rendezvous.ClusterError)
        assert f"no connection from worker 2 ({addresses['worker 2']})" in str(error)
        assert "trainer.cluster_timeout" in str(error)
    assert time.monotonic() - began < 8


def test_a_missing_leader_is_named(addresses):
    error = start(addresses, "worker 1", timeout=1.5)()
    assert f"no connection from worker 0 ({addresses['worker 0']})" in str(error)


def test_a_process_that_connected_and_died_is_missing(addresses):
    leader = start(addresses, "worker 0", timeout=3.0)
    time.sleep(0.5)
    waiting = start(addresses, "worker 1", timeout=3.0)
    host, port = addresses["worker 0"].split(":")
    for _ in range(2):  # Knocks as a stranger, then as a worker of the cluster, and hangs up.
        with socket.create_connection((host, int(port))) as link:
            link.sendall(b"GET / HTTP/1.1\n")
    assert "worker 2" in str(leader())
    assert "worker 2" in str(waiting())


def test_an_address_in_use_is_an_error_at_once(addresses):
    for me in ("worker 0", "worker 1"):
        with socket.create_server(("", int(addresses[me].split(":")[1]))):
            error = start(addresses, me, timeout=10.0)()
        assert isinstance(error, rendezvous.ClusterError)
        assert f"{me} cannot listen at its own address {addresses[me]}" in str(error)


def test_a_slow_foreign_client_does_not_delay_the_cluster(addresses, monkeypatch):
    monkeypatch.setattr(rendezvous, "_GREETING_SECONDS", 0.5)
    names = list(addresses)
    leader = start(addresses, names[0])
    time.sleep(0.3)
    host, port = addresses[names[0]].split(":")
    with socket.create_connection((host, int(port))) as stranger:
        others = [start(addresses, name) for name in names[1:]]
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                stranger.sendall(b".")
            time.sleep(0.1)
        began = time.monotonic()
        assert [result() for result in (leader, *others)] == [None, None, None]
        assert time.monotonic() - began < 1
