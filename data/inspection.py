"""A look into a folder of records, ours or TFRecorder's. TensorFlow is not needed."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from data.conversion.local import fresh_folder
from data.errors import DataError, listing
from data.record import photos, records
from data.record_set import describe, read_shard, shards_of
from data.storage import files
from data.storage.csv_cells import escape_formula

DATA_CSV = "data.csv"
_NAME_LENGTH = 100  # of a picture's name; file systems allow 255 bytes


def inspect(
    tfrecord_dir: str | os.PathLike,
    split: str = "TRAIN",
    num_records: int = 1,
    output_dir: str | os.PathLike = "output",
) -> str:
    """Writes the first records of a split as a CSV file and one picture each.

    Args:
        tfrecord_dir: A folder that `convert` or the real TFRecorder wrote.
        split: TRAIN, VALIDATION or TEST.
        num_records: How many records; all where there are fewer.
        output_dir: The local folder in which a new folder is made.

    Returns:
        The new folder. `data.csv` in it has all features but the pixels, and `picture`, the name of
        the record's picture: PNG of raw pixels, else the JPEG as it is. Pictures begin with the
        record's number, so equal names do not meet.

    Raises:
        DataError: No such split or number, an unfinished conversion, a broken record.
    """
    folder = files.checked(tfrecord_dir)
    if split not in records.SPLITS:
        raise DataError(f"Unknown split: {split!r}", f"Allowed: {', '.join(records.SPLITS)}.")
    if num_records < 1:
        raise DataError(f"num_records is to be at least 1. Received: {num_records}")
    shown = list(itertools.islice(read_split(folder, split), num_records))
    if not shown:
        raise DataError(
            f"{folder} has no {split} records", f"It has shards of {', '.join(shards_of(folder))}."
        )

    name = f"check-tfrecords-{time.strftime('%Y%m%d-%H%M%S')}"
    made = fresh_folder(files.join(files.checked(output_dir), name))
    partial = Path(f"{made}.partial")
    try:
        _write(shown, partial)
    except BaseException:
        shutil.rmtree(partial)
        raise
    partial.rename(made)
    return made


def check_records(tfrecord_dir: str | os.PathLike) -> str:
    """Reads a folder whole: hashes against the manifest, checksums, and every photo decoded.

    Returns:
        What was read, as text.

    Raises:
        DataError: Anything is wrong; the shard and the record are named.
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
    what = f"{found.encoding} photos" if found.encoding else "no photos"
    return "\n".join([*lines, f"whole: {what}, labels {listing(found.labels, 20)}"])


def read_split(folder: str, split: str) -> Iterator[dict]:
    """The features of every record of a split, shard by shard.

    Raises:
        DataError: A shard or record is broken.
    """
    for path in shards_of(folder).get(split.lower(), ()):
        yield from read_shard(path)


def decode(features: dict, where: str):
    """The pixels of a record, [height, width, channels] uint8.

    Raises:
        DataError: The bytes are not those of an image of this size.
    """
    try:
        return photos.pixels(features)
    except (OSError, ValueError, KeyError, TypeError) as error:
        name = _cell(features.get(records.IMAGE_NAME, ""))
        raise DataError(f"{where} ({name!r}) does not decode", str(error)) from error


def _write(shown: list[dict], folder: Path) -> None:
    """Writes the table and the pictures."""
    columns = sorted({name for features in shown for name in features} - {records.IMAGE})
    pictures = ["picture"] if records.IMAGE in shown[0] else []
    with (folder / DATA_CSV).open("w", newline="", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow([escape_formula(name) for name in (*columns, *pictures)])
        for number, features in enumerate(shown):
            row = [escape_formula(_cell(features.get(name, ""))) for name in columns]
            if pictures:
                row.append(_save_picture(features, number, folder))
            writer.writerow(row)


def _save_picture(features: dict, number: int, folder: Path) -> str:
    decoded = decode(features, f"record {number + 1}")
    stem = _cell(features.get(records.IMAGE_NAME, "")).rpartition(".")[0] or "photo"
    stem = re.sub(r"[^\w.-]+", "_", stem)[:_NAME_LENGTH].encode()[: 2 * _NAME_LENGTH]
    is_jpeg = features[records.IMAGE].startswith(records.JPEG_MAGIC)
    name = f"{number:05d}-{stem.decode(errors='ignore')}{'.jpg' if is_jpeg else '.png'}"
    if is_jpeg:
        content = features[records.IMAGE]
    else:
        file = io.BytesIO()
        Image.fromarray(decoded[..., 0] if decoded.shape[-1] == 1 else decoded).save(file, "PNG")
        content = file.getvalue()
    files.write(str(folder / name), content)
    return name


def _cell(value) -> str | int | float:
    return os.fsdecode(value) if isinstance(value, bytes) else value
