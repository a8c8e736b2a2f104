"""Where examples wait between epochs: in memory where there is room, else in a local file."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

_log = logging.getLogger("pawprint")
_SHARE = 0.5
_CGROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def free_memory() -> int:
    """Bytes this process may still take: the machine's free memory, or its container's if less."""
    free = psutil.virtual_memory().available
    for folder, limit, usage in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # No such limit.
            room = int(Path(folder, limit).read_text()) - int(Path(folder, usage).read_text())
            # Files that were read count as used, and give way on demand.
            lines = Path(folder, "memory.stat").read_text().splitlines()
            room += int(dict(line.split() for line in lines).get("inactive_file", 0))
            free = min(free, max(0, room))
    return free


@contextlib.contextmanager
def locations(kind: str, size: int) -> Iterator[dict[str, str]]:
    """Where to cache, for `models.input`: `memory`, `none`, or the path of a file, by data set.

    `auto` takes memory for up to half of what is free, then a file for up to half of the disk,
    then nothing. Files are removed on leaving.

    Args:
        kind: `memory`, `file`, `none` or `auto`.
        size: bytes of this process's examples.
    """
    with contextlib.ExitStack() as stack:
        if kind == "auto":
            kind = _choose(size)
        if kind != "file":
            yield {"train": kind, "eval": kind}
            return
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pawprint-cache-"))
        yield {"train": f"{folder}/train", "eval": f"{folder}/eval"}


def _choose(size: int) -> str:
    if size <= _SHARE * free_memory():
        return "memory"
    kind = "file" if size <= _SHARE * shutil.disk_usage(tempfile.gettempdir()).free else "none"
    _log.info("examples (%.1f GB) do not fit in memory: cache %s", size / 1e9, kind)
    return kind
