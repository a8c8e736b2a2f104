"""Names of the folders that conversions make."""

from __future__ import annotations

import time
from collections.abc import Callable

from data.errors import DataError


def folder_name(job_label: str) -> str:
    """`tfrecorder-<YYYYmmdd-HHMMSS>[-<job_label>]`, as TFRecorder names its folders.

    Raises:
        DataError: A label that cannot be part of a folder's name.
    """
    if not isinstance(job_label, str) or any(sign in job_label for sign in "/\0\n"):
        raise DataError(
            "job_label ends the folder's name: it has no slash and is one line of text",
            f"Received: {job_label!r}.",
        )
    parts = ("tfrecorder", time.strftime("%Y%m%d-%H%M%S"), job_label.replace("_", "-"))
    return "-".join(part for part in parts if part)


def first_free(folder: str, taken: Callable[[str], bool]) -> str:
    """The folder, or else `<folder>-1` and so on: the first that is not taken."""
    for attempt in range(10_000):
        name = f"{folder}-{attempt}" if attempt else folder
        if not taken(name):
            return name
    raise DataError(f"No free name like {folder}")
