"""From a folder of unlabelled photos to records that the model's serving_default takes."""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import data
from data.errors import DataError
from data.sources.layout import visible_files
from pipeline.artifacts.digests import settings_digest

ROW = "row"
"""Feature of a record: the number of its photo in the sorted list of paths."""
PATTERN = "train-*"
"""The shards; `data` has no split without a label to learn."""
_DIGEST_LENGTH = 12


@dataclasses.dataclass(frozen=True)
class Unlabelled:
    """The records of a folder."""

    paths: list[str]
    """Every file, sorted; a record's `row` is an index into them."""
    folder: str
    """Where the shards are."""
    count: int
    """Photos that became a record."""
    discarded: list[dict]
    """Files that did not: path, row, reason, exception."""
    cached: bool
    """Whether the records of an earlier prediction were used."""


def list_folder(folder: str) -> list[str]:
    """Every visible file below a folder, sorted; links and hidden files as `data.scan` takes them.

    Raises:
        DataError: no such folder, or no files in it.
    """
    if not Path(folder).is_dir():
        raise DataError(f"No such folder: {folder}", "Expected a folder of photos.")
    found = sorted(str(Path(folder, *names)) for names in visible_files(folder))
    if not found:
        raise DataError(f"No photos in {folder}", "Expected image files, at any depth.")
    return found


def convert_folder(paths: list[str], root: str, progress: Callable[[int, int], None]) -> Unlabelled:
    """Makes records below `root`, or finds those of an earlier prediction of the same files.

    Raises:
        DataError: none of the files is a photo.
    """
    stamps = [(path, *_stamp(path)) for path in paths]
    digest = settings_digest([str(Path.cwd()), stamps])[:_DIGEST_LENGTH]
    folder = Path(root) / "records" / f"unlabelled-{digest}"
    cached = folder.exists()
    if not cached:
        _convert(paths, folder, progress)
    text = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}  # file names
    with (folder / "discarded.csv").open(**text) as file:
        discarded = list(csv.DictReader(file))
    count = len(paths) - len(discarded)
    return Unlabelled(paths, str(folder.resolve()), count, discarded, cached)


def _stamp(path: str) -> tuple[int, int]:
    try:
        found = Path(path).stat()
    except OSError:  # a broken link, which the conversion lists
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
