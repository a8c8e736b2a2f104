"""A folder of versions as TensorFlow Serving watches it: the highest number is the one served.

    serving/1/  serving/2/      one SavedModel each
    serving/LATEST              `2`: the version served, for scripts
    serving/.rolled-back-3/     set aside by a rollback, for good; servers do not see it
    serving/.incoming-4/        being copied, or left by a push that died
    serving/.lock               held by whoever changes the folder

A version appears, is set aside and comes back by one rename, so that a server sees it whole or not
at all. Numbers only increase: that of a version set aside is not given to another model.
"""

import re
from pathlib import Path

ROLLED_BACK = ".rolled-back-"
"""Prefix of the folders of versions that a rollback set aside."""


def versions(folder: Path) -> list[int]:
    """Versions that a server sees, ascending; none if the folder does not exist."""
    return _numbers(folder, "")


def served_version(folder: Path) -> int | None:
    """The version that answers requests: the highest that a server sees; None without any."""
    return max(versions(folder), default=None)


def rolled_back(folder: Path) -> list[int]:
    """Versions that a rollback set aside, ascending."""
    return _numbers(folder, ROLLED_BACK)


def _numbers(folder: Path, prefix: str) -> list[int]:
    if not folder.is_dir():
        return []
    named = re.compile(re.escape(prefix) + "[0-9]+")
    found = (p.name for p in folder.iterdir() if named.fullmatch(p.name) and p.is_dir())
    return sorted(int(name.removeprefix(prefix)) for name in found)
