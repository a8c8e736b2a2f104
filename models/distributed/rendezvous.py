"""A rendezvous of all processes of a training cluster, with a timeout.

TensorFlow's leader waits for missing workers indefinitely. Before TensorFlow starts, all processes
therefore connect to the leader's address over TCP; TensorFlow uses the address afterwards. Either
all processes continue, or each of them reports which ones are missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import select
import socket
import time
from collections.abc import Mapping

_MISSING = "missing: "
_RETRY_SECONDS = 0.5
_GREETING_SECONDS = 5


class ClusterError(RuntimeError):
    """The training cluster is incomplete, or a process of it was lost."""


def wait_for_all(addresses: Mapping[str, str], me: str, leader: str, timeout: float) -> None:
    """Returns after every process of the cluster has called this function.

    Args:
        addresses: `host:port` of each process by name, the same in all processes.
        me: name of this process.
        leader: name of the process that the others connect to.
        timeout: time limit in seconds.

    Raises:
        ClusterError: A process is missing after `timeout` seconds, or this process's address is in
            use by another program.

    Example:

    ```python
    from models.distributed import rendezvous

    addresses = {"worker 0": "localhost:2222"}
    rendezvous.wait_for_all(addresses, me="worker 0", leader="worker 0", timeout=10)
    ```
    """
    deadline = time.monotonic() + timeout
    greeting = hashlib.sha256(json.dumps(dict(addresses), sort_keys=True).encode()).hexdigest()
    # Every process listens on its own address to check that the address is free. TensorFlow would
    # fail on a used one and leave the other processes waiting.
    with _listen(addresses[me], me) as server:
        if me == leader:
            missing = _accept_all(server, addresses, me, greeting, deadline)
        else:
            missing = _connect(addresses[leader], f"{greeting} {me}", deadline, otherwise=[leader])
    if missing:
        where = ", ".join(f"{name} ({addresses.get(name, '?')})" for name in missing)
        raise ClusterError(
            f"The training cluster is not complete after {timeout:.0f} s: no connection from "
            f"{where}. This is {me} of {len(addresses)} processes. Check that every process was "
            "started with the same TF_CONFIG and can reach the leader's address "
            f"{addresses[leader]}, or raise trainer.cluster_timeout."
        )


def _accept_all(
    server: socket.socket, addresses: Mapping[str, str], me: str, greeting: str, deadline: float
) -> list[str]:
    """Runs in the leader: returns the names that are missing at the deadline."""
    present: dict[str, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        while True:
            present = {name: link for name, link in present.items() if _is_open(link)}
            missing = [name for name in addresses if name not in present and name != me]
            left = deadline - time.monotonic()
            if not missing or left <= 0:
                verdict = _MISSING + json.dumps(missing)
                for link in present.values():
                    with contextlib.suppress(OSError):
                        link.sendall(f"{verdict}\n".encode())
                return missing
            if not select.select([server], [], [], min(left, _RETRY_SECONDS))[0]:
                continue
            link = stack.enter_context(server.accept()[0])
            until = min(deadline, time.monotonic() + _GREETING_SECONDS)
            given, _, name = _read_line(link, until).partition(" ")
            if given == greeting and name in addresses:
                present[name] = link


def _connect(address: str, greeting: str, deadline: float, otherwise: list[str]) -> list[str]:
    """Runs in the other processes: returns the names that the leader reports as missing.

    Returns `otherwise` if the leader does not answer.
    """
    host, _, port = address.rpartition(":")
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), min(left, 5)) as link:
                link.sendall(f"{greeting}\n".encode())
                # Later than the leader's deadline, at which it reports who is missing.
                verdict = _read_line(link, deadline + 2)
                if verdict.startswith(_MISSING):
                    return list(json.loads(verdict.removeprefix(_MISSING)))
        except (OSError, ValueError):
            pass  # The leader has not started, or is ending after an earlier failure: try again.
        time.sleep(min(_RETRY_SECONDS, max(0.0, deadline - time.monotonic())))
    return otherwise


def _listen(address: str, me: str) -> socket.socket:
    port = int(address.rpartition(":")[2])
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise ClusterError(
            f"{me} cannot listen at its own address {address}: {error.strerror}. Stop the training "
            "or program that uses the port, or choose another port in TF_CONFIG."
        ) from error


def _is_open(link: socket.socket) -> bool:
    """Whether the peer still waits. It sends nothing more, so a readable socket is a closed one."""
    return not select.select([link], [], [], 0)[0]


def _read_line(link: socket.socket, deadline: float) -> str:
    """Reads up to the end of the line, the deadline or 4,096 bytes, whichever comes first."""
    line = b""
    with contextlib.suppress(OSError):
        while not line.endswith(b"\n") and len(line) < 4096:
            link.settimeout(max(0.01, deadline - time.monotonic()))
            chunk = link.recv(1)
            if not chunk or time.monotonic() > deadline:
                break
            line += chunk
    return line.decode(errors="replace").strip()
