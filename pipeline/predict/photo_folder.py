"""Converts a folder of unlabelled photos to records, the input of serving_default."""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import data
from data.errors import DataError
from data.sources.layout import visible_files
from pipeline.artifacts.digests import settings_digest

ROW = "row"
"""Feature of a record: index of its photo in the sorted list of paths."""
PATTERN = "train-*"
"""File pattern of the shards: `data` writes unlabelled photos as TRAIN."""
_DIGEST_LENGTH = 12


@dataclasses.dataclass(frozen=True)
class UnlabelledRecords:
    """The records of a folder of unlabelled photos."""

    paths: list[str]
    """All files, sorted; the feature `row` of a record is an index into them."""
    folder: str
    """Folder of the shards."""
    count: int
    """Number of records."""
    discarded: list[dict[str, Any]]
    """Files that could not be read: path, row, reason, exception."""
    cached: bool
    """Whether the records were made by an earlier prediction."""


def list_folder(folder: str) -> list[str]:
    """Lists the visible files below a folder, sorted. Treats links and hidden files as `data.scan`.

    Raises:
        DataError: The folder does not exist or is empty.
    """
    if not Path(folder).is_dir():
        raise DataError(f"No such folder: {folder}", "Expected a folder of photos.")
    found = sorted(str(Path(folder, *names)) for names in visible_files(folder))
    if not found:
        raise DataError(f"No photos in {folder}", "Expected image files, at any depth.")
    return found


def convert_folder(
    paths: list[str], root: str, progress: Callable[[int, int], None]
) -> UnlabelledRecords:
    """Converts photos to records below `root`; reuses the records of unchanged files.

    Args:
        paths: Image files, as returned by `list_folder`.
        root: Root folder of the runs.
        progress: Called with the number of converted photos and of all photos.

    Raises:
        DataError: None of the files is a photo.
    """
    stamps = [(path, *_stamp(path)) for path in paths]
    digest = settings_digest([str(Path.cwd()), stamps])[:_DIGEST_LENGTH]
    folder = Path(root) / "records" / f"unlabelled-{digest}"
    cached = folder.exists()
    if not cached:
        _convert(paths, folder, progress)
    # surrogateescape: file names may not be valid UTF-8.
    with open(
        folder / "discarded.csv", newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        discarded = list(csv.DictReader(file))
    count = len(paths) - len(discarded)
    return UnlabelledRecords(paths, str(folder.resolve()), count, discarded, cached)


def _stamp(path: str) -> tuple[int, int]:
    try:
        found = Path(path).stat()
    except OSError:  # a broken link; the conversion discards it
        return (0, 0)
    return found.st_size, found.st_mtime_ns


def _convert(paths: list[str], folder: Path, progress: Callable[[int, int], None]) -> None:
    rows = {"split": "TRAIN", "image_uri": paths, ROW: range(len(paths))}
    schema = {"split": data.SplitKey, "image_uri": data.ImageUri, ROW: data.IntegerInput}
    try:
        data.convert(
            pd.DataFrame(rows),
            tfrecord_dir=folder,
            schema=schema,
            encoding="jpeg",
            resume=True,
            progress=progress,
        )
    except DataError as error:
        if len(error.discarded) < len(paths):
            raise
        first = error.discarded[0]
        raise DataError(
            f"None of the {len(paths)} files can be read as a photo",
            f"The first: {first['path']}: {first['reason']}",
            discarded=error.discarded,
        ) from None
