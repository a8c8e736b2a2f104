"""A serving folder with numbered versions, as TensorFlow Serving watches it.

TensorFlow Serving serves the highest number.

    serving/1/  serving/2/      one SavedModel each
    serving/LATEST              `2`: number of the served version, for scripts
    serving/.rolled-back-3/     rolled-back version, which servers ignore
    serving/.incoming-4/        incomplete copy of a running or failed push
    serving/.lock               lock file for changes of the folder

Pushes, rollbacks and promotions rename one folder, so that servers never see a partial version.
Numbers only increase: the number of a rolled-back version is never reused.
"""

import re
from pathlib import Path

ROLLED_BACK = ".rolled-back-"
"""Prefix of the folders of rolled-back versions."""


def versions(folder: Path) -> list[int]:
    """Lists the versions that a server can serve, ascending; [] if the folder does not exist."""
    return _numbers(folder, "")


def served_version(folder: Path) -> int | None:
    """Returns the served version, which is the highest; None without any version."""
    return max(versions(folder), default=None)


def rolled_back(folder: Path) -> list[int]:
    """Lists the rolled-back versions, ascending."""
    return _numbers(folder, ROLLED_BACK)


def _numbers(folder: Path, prefix: str) -> list[int]:
    if not folder.is_dir():
        return []
    named = re.compile(re.escape(prefix) + "[0-9]+")
    found = (p.name for p in folder.iterdir() if named.fullmatch(p.name) and p.is_dir())
    return sorted(int(name.removeprefix(prefix)) for name in found)
