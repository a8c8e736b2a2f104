"""One mirror at a time for a store and a project, also where hosts share the store's database.

A lease is a note in the metadata store whose name ends in a number. Creating a note of one name
succeeds for one process only, so that the next number is taken once: by whoever finds the lease
before it released, expired, or held by a process of the same host that is gone. It expires
late enough for a host whose clock is ahead.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

CLOCKS = 10 * 60
"""Seconds by which the clocks of hosts that share a store may differ."""
_WAIT = 0.5


class LeaseError(RuntimeError):
    """Another mirror is at work; the message says where."""


class Notes(Protocol):
    """Named texts in a metadata store."""

    def note(self, name: str) -> str | None: ...
    def create_note(self, name: str, text: str) -> bool: ...
    def write_note(self, name: str, text: str) -> None: ...


@contextmanager
def exclusive(notes: Notes, name: str, seconds: float, patience: float) -> Iterator[None]:
    """Holds the lease `name`.

    Args:
        notes: the store.
        name: what is leased.
        seconds: for how long at most; the holder must have ended by then.
        patience: seconds to wait for another holder.

    Raises:
        LeaseError: another process holds it still.
    """
    number = _take(notes, name, seconds, time.monotonic() + patience)
    try:
        yield
    finally:
        notes.write_note(f"{name}/{number}", json.dumps({"expires": 0}))
        notes.write_note(f"{name}/last", str(number))


def _take(notes: Notes, name: str, seconds: float, until: float) -> int:
    while True:
        number = int(notes.note(f"{name}/last") or 0)
        holder = {"expires": 0}
        while (text := notes.note(f"{name}/{number + 1}")) is not None:
            number, holder = number + 1, json.loads(text)
        if not _is_held(holder):
            mine = {"expires": time.time() + seconds + CLOCKS, **_identity()}
            if notes.create_note(f"{name}/{number + 1}", json.dumps(mine)):
                return number + 1
            continue
        if time.monotonic() > until:
            raise LeaseError(
                f"another mirror is at work (host {holder['host']}, process {holder['process']})"
            )
        time.sleep(_WAIT)


def _is_held(holder: dict) -> bool:
    if holder["expires"] < time.time():
        return False
    gone = (
        holder["host"] == _identity()["host"] and _started(holder["process"]) != holder["started"]
    )
    return not gone


def _identity() -> dict:
    # The boot's id tells hosts apart that have one name, and containers of one host stay one.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    host = f"{socket.gethostname()}-{boot}-{space}"
    return {"host": host, "process": os.getpid(), "started": _started(os.getpid())}


def _started(process: int) -> str:
    """When a process of this host started, in the kernel's ticks; "" where there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
