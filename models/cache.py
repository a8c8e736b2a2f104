"""The cache of examples between epochs: in memory, or in a local file."""

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
    """Returns the free memory in bytes: the machine's, or the container's where that is less."""
    free = psutil.virtual_memory().available
    for folder, limit, usage in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # The container has no limit.
            room = int(Path(folder, limit).read_text()) - int(Path(folder, usage).read_text())
            # The page cache counts as used, but is freed on demand.
            lines = Path(folder, "memory.stat").read_text().splitlines()
            room += int(dict(line.split() for line in lines).get("inactive_file", 0))
            free = min(free, max(0, room))
    return free


@contextlib.contextmanager
def locations(kind: str, size: int) -> Iterator[dict[str, str]]:
    """Yields where `models.input` caches each split: `memory`, `none` or the path of a file.

    `auto` chooses memory if the examples take at most half of the free memory, else a file if they
    take at most half of the free disk space, else none. Files are removed on exit.

    Args:
        kind: `memory`, `file`, `none` or `auto`.
        size: size of this process's examples in bytes.

    Yields:
        {"train": location, "eval": location}.
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
