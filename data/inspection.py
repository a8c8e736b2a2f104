"""Shows and checks the records of a folder, written by pawprint or TFRecorder."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from data.conversion.local import fresh_folder
from data.errors import DataError, listing
from data.record import photos, records
from data.record_set import describe, read_shard, shards_of
from data.storage import files
from data.storage.csv_cells import escape_formula

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DATA_CSV = "data.csv"
_NAME_LENGTH = 100  # of an image file; file systems allow 255 bytes


def inspect(
    tfrecord_dir: str | os.PathLike[str],
    split: str = "TRAIN",
    num_records: int = 1,
    output_dir: str | os.PathLike[str] = "output",
) -> str:
    """Writes the first records of a split to a CSV file and image files, without TensorFlow.

    Args:
        tfrecord_dir: A folder that `convert` or TFRecorder has written.
        split: TRAIN, VALIDATION or TEST.
        num_records: Maximum number of records.
        output_dir: The local parent of the new folder.

    Returns:
        The new folder. Its `data.csv` has all features but the pixels, and in the column `picture`
        the name of the record's image file: PNG for raw pixels, else the JPEG unchanged. The names
        begin with the number of the record, so they are unique.

    Raises:
        DataError: An unknown split, an invalid number, an unfinished conversion, or a broken
            record.

    Example:
        ```python
        import data

        converted = data.convert("photos")
        print(data.inspect(converted["tfrecord_dir"], "TRAIN", num_records=5))
        ```
    """
    folder = files.checked(tfrecord_dir)
    if split not in records.SPLITS:
        raise DataError(f"Unknown split: {split!r}", f"Allowed: {', '.join(records.SPLITS)}.")
    if num_records < 1:
        raise DataError(f"num_records must be at least 1. Received: {num_records}")
    shown = list(itertools.islice(read_split(folder, split), num_records))
    if not shown:
        raise DataError(
            f"{folder} has no {split} records", f"Found shards of {', '.join(shards_of(folder))}."
        )

    name = f"check-tfrecords-{time.strftime('%Y%m%d-%H%M%S')}"
    target = fresh_folder(files.join(files.checked(output_dir), name))
    partial = Path(f"{target}.partial")
    try:
        _write(shown, partial)
    except BaseException:
        shutil.rmtree(partial)
        raise
    partial.rename(target)
    return target


def check_records(tfrecord_dir: str | os.PathLike[str]) -> str:
    """Checks all records of a folder: hashes in the manifest, checksums, and decoding of images.

    Returns:
        A summary of the records, as text.

    Raises:
        DataError: A check fails; the message names the shard and the record.
    """
    folder = files.checked(tfrecord_dir)
    found = describe(folder)
    lines = []
    for split, counts in found.counts.items():
        read = 0
        for features in read_split(folder, split.upper()):
            read += 1
            if records.IMAGE in features:
                decode(features, f"{folder}: {split} record {read}")
        if read != sum(counts.values()):
            raise DataError(
                f"{folder} has {read} {split} records, expected {sum(counts.values())}",
                "Convert the photos again.",
            )
        lines.append(f"{split:<11}{read:>8} records")
    what = f"{found.encoding} images" if found.encoding else "no images"
    return "\n".join([*lines, f"complete: {what}, labels {listing(found.labels, 20)}"])


def read_split(folder: str, split: str) -> Iterator[records.Features]:
    """Reads the features of every record of a split, shard by shard.

    Raises:
        DataError: A shard or record is broken.
    """
    for path in shards_of(folder).get(split.lower(), ()):
        yield from read_shard(path)


def decode(features: Mapping[str, Any], where: str) -> NDArray[np.uint8]:
    """Decodes the image of a record.

    Args:
        features: The features of the record.
        where: The record, for messages.

    Returns:
        uint8, [height, width, channels].

    Raises:
        DataError: The bytes are not an image of the size in the record.
    """
    try:
        return photos.pixels(features)
    except (OSError, ValueError, KeyError, TypeError) as error:
        name = _cell(features.get(records.IMAGE_NAME, ""))
        raise DataError(f"{where} ({name!r}) cannot be decoded", str(error)) from error


def _write(shown: list[records.Features], folder: Path) -> None:
    """Writes the table and the image files."""
    columns = sorted({name for features in shown for name in features} - {records.IMAGE})
    pictures = ["picture"] if records.IMAGE in shown[0] else []
    with (folder / DATA_CSV).open("w", newline="", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow([escape_formula(name) for name in (*columns, *pictures)])
        for number, features in enumerate(shown):
            row = [escape_formula(_cell(features.get(name, ""))) for name in columns]
            if pictures:
                row.append(_save_image(features, number, folder))
            writer.writerow(row)


def _save_image(features: Mapping[str, Any], number: int, folder: Path) -> str:
    """Writes the image of a record; returns the name of the file."""
    decoded = decode(features, f"record {number + 1}")
    stem = str(_cell(features.get(records.IMAGE_NAME, ""))).rpartition(".")[0] or "photo"
    encoded = re.sub(r"[^\w.-]+", "_", stem)[:_NAME_LENGTH].encode()[: 2 * _NAME_LENGTH]
    is_jpeg = features[records.IMAGE].startswith(records.JPEG_MAGIC)
    name = f"{number:05d}-{encoded.decode(errors='ignore')}{'.jpg' if is_jpeg else '.png'}"
    if is_jpeg:
        content = features[records.IMAGE]
    else:
        file = io.BytesIO()
        Image.fromarray(decoded[..., 0] if decoded.shape[-1] == 1 else decoded).save(file, "PNG")
        content = file.getvalue()
    files.write(str(folder / name), content)
    return name


def _cell(value: object) -> object:
    return os.fsdecode(value) if isinstance(value, bytes) else value
