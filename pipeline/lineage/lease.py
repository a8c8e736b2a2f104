"""A lease: one mirror at a time per store and project, across hosts that share the store.

A lease is a note in the metadata store whose name ends in a number. A note of a given name can be
created once, so only one process takes the next number: after the current lease was released, has
expired, or its holder on the same host has died. The expiry allows for clock skew between hosts.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.metadata.graph import MetadataSource

CLOCK_SKEW_S = 10 * 60
"""Largest difference in seconds between the clocks of hosts that share a store."""
_POLL_S = 0.5


class LeaseError(RuntimeError):
    """Another mirror holds the lease. The message says where."""


@contextmanager
def hold_lease(source: MetadataSource, name: str, seconds: float, wait: float) -> Iterator[None]:
    """Holds a lease for the duration of a `with` block.

    Args:
        source: The metadata store.
        name: Name of the lease.
        seconds: Time in which the holder must have ended.
        wait: Seconds to wait for another holder.

    Raises:
        LeaseError: Another process still holds the lease.
    """
    number = _acquire(source, name, seconds, time.monotonic() + wait)
    try:
        yield
    finally:
        source.write_note(f"{name}/{number}", json.dumps({"expires": 0}))
        source.write_note(f"{name}/last", str(number))


def _acquire(source: MetadataSource, name: str, seconds: float, until: float) -> int:
    while True:
        number = int(source.note(f"{name}/last") or 0)
        holder: dict[str, Any] = {"expires": 0}
        while (text := source.note(f"{name}/{number + 1}")) is not None:
            number, holder = number + 1, json.loads(text)
        if not _is_held(holder):
            lease = {"expires": time.time() + seconds + CLOCK_SKEW_S, **_identity()}
            if source.create_note(f"{name}/{number + 1}", json.dumps(lease)):
                return number + 1
            continue
        if time.monotonic() > until:
            raise LeaseError(
                f"another mirror is running (host {holder['host']}, process {holder['process']})"
            )
        time.sleep(_POLL_S)


def _is_held(holder: dict[str, Any]) -> bool:
    if holder["expires"] < time.time():
        return False
    same_host = holder["host"] == _identity()["host"]
    return not (same_host and _start_time(holder["process"]) != holder["started"])


def _identity() -> dict[str, Any]:
    # The boot id tells hosts of one name apart; containers of one host share it.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    host = f"{socket.gethostname()}-{boot}-{namespace}"
    return {"host": host, "process": os.getpid(), "started": _start_time(os.getpid())}


def _start_time(process: int) -> str:
    """Returns the start time of a process in clock ticks; "" if it does not run."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
