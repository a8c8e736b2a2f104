"""A bounded wait until all processes of a training cluster are there.

TensorFlow's own start-up waits for missing workers without end on the leading process. So the
processes meet here first, over a plain connection to the leader's address, which TensorFlow takes
over afterwards: either all go on, or each learns who is missing.
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
    """The training cluster did not come together, or fell apart."""


def meet(addresses: Mapping[str, str], me: str, leader: str, timeout: float) -> None:
    """Returns once every process of the cluster has called this.

    Args:
        addresses: `host:port` by the name of each process, the same in all of them.
        me: this process's name.
        leader: name of the process that the others come to.
        timeout: seconds to wait.

    Raises:
        ClusterError: somebody is missing after `timeout` seconds, which names who and where; or
            another program listens at this process's own address.
    """
    deadline = time.monotonic() + timeout
    greeting = hashlib.sha256(json.dumps(dict(addresses), sort_keys=True).encode()).hexdigest()
    # Each tries its own address, also who needs it later only: TensorFlow could not, and would
    # leave the others waiting.
    with _listen(addresses[me], me) as server:
        if me == leader:
            missing = _gather(server, addresses, me, greeting, deadline)
        else:
            missing = _join(addresses[leader], f"{greeting} {me}", deadline)
            missing = [leader] if missing is None else missing
    if missing:
        where = ", ".join(f"{name} ({addresses.get(name, '?')})" for name in missing)
        raise ClusterError(
            f"The training cluster is not complete after {timeout:.0f} s: no sign of {where}. "
            f"This is {me} of {len(addresses)} processes. Check that every one was started with "
            "the same TF_CONFIG and can reach that address, or raise trainer.cluster_timeout."
        )


def _gather(server, addresses, me: str, greeting: str, deadline: float) -> list[str]:
    """The leader's side: the names still missing at the deadline, none if all came."""
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


def _join(address: str, greeting: str, deadline: float) -> list[str] | None:
    """The others' side: the names that the leader misses, or None where it did not answer."""
    host, _, port = address.rpartition(":")
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), min(left, 5)) as link:
                link.sendall(f"{greeting}\n".encode())
                # A little longer than the leader waits, to hear from it who is missing.
                verdict = _read_line(link, deadline + 2)
                if verdict.startswith(_MISSING):
                    return json.loads(verdict.removeprefix(_MISSING))
        except (OSError, ValueError):
            pass  # Not there yet, or on its way out after an earlier failure: try again.
        time.sleep(min(_RETRY_SECONDS, max(0.0, deadline - time.monotonic())))
    return None


def _listen(address: str, me: str) -> socket.socket:
    port = int(address.rpartition(":")[2])
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise ClusterError(
            f"{me} cannot listen at its own address {address}: {error.strerror}. Is another "
            "training, or another program, running there?"
        ) from error


def _is_open(link: socket.socket) -> bool:
    """Whether the other side still waits; having nothing to say, it is readable only when gone."""
    return not select.select([link], [], [], 0)[0]


def _read_line(link: socket.socket, deadline: float) -> str:
    """What comes up to the end of the line or the deadline, however slowly."""
    line = b""
    with contextlib.suppress(OSError):
        while not line.endswith(b"\n") and len(line) < 4096:
            link.settimeout(max(0.01, deadline - time.monotonic()))
            chunk = link.recv(1)
            if not chunk or time.monotonic() > deadline:
                break
            line += chunk
    return line.decode(errors="replace").strip()
