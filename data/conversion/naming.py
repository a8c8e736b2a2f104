"""Names of the folders that conversions create."""

from __future__ import annotations

import time
from collections.abc import Callable

from data.errors import DataError


def folder_name(job_label: str) -> str:
    """Returns `tfrecorder-<YYYYmmdd-HHMMSS>[-<job_label>]`, the name of a folder as in TFRecorder.

    Raises:
        DataError: `job_label` cannot be part of a folder's name.
    """
    if not isinstance(job_label, str) or any(sign in job_label for sign in "/\0\n"):
        raise DataError(
            f"Invalid job_label: {job_label!r}",
            "It becomes part of a folder's name: expected one line of text without slashes.",
        )
    parts = ("tfrecorder", time.strftime("%Y%m%d-%H%M%S"), job_label.replace("_", "-"))
    return "-".join(part for part in parts if part)


def first_free(folder: str, taken: Callable[[str], bool]) -> str:
    """Returns the first of `folder`, `<folder>-1`, `<folder>-2` and so on that is not taken."""
    for attempt in range(10_000):
        name = f"{folder}-{attempt}" if attempt else folder
        if not taken(name):
            return name
    raise DataError(f"No free name for the folder {folder}", "Remove some of its numbered copies.")
