"""`describe`: the content of a folder of records, written by pawprint or TFRecorder."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from data.conversion.journal import refuse_unfinished
from data.conversion.manifest import Manifest, number_labels, read_manifest
from data.conversion.transform_metadata import read_vocabularies, read_vocabulary, vocabulary_lines
from data.errors import DataError, NotFoundError, listing
from data.record import tfrecord
from data.record.input_schema import Schema
from data.record.records import IMAGE, JPEG, JPEG_MAGIC, LABEL, RAW, SPLITS, Features, parse
from data.record.types import ColumnType
from data.storage import files

_EXPECTED_SHARDS = "Expected files like train-00000-of-00001.tfrecord.gz."


@dataclass(frozen=True)
class RecordSet:
    """A folder of records.

    Attributes:
        tfrecord_dir: The folder.
        labels: Labels in index order; for whole-number labels above 10,000, those that occur.
        counts: Split (train, validation, test, if it has records) to label to number of records.
            The label is empty if labels are not whole numbers.
        patterns: For each of these splits, the glob of its shards, relative to the folder.
        features: Names of the features in the records, sorted.
        encoding: `raw` or `jpeg`; None for records without an image.
        discarded: Number of rows that did not become records.
    """

    tfrecord_dir: str
    labels: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    patterns: dict[str, str]
    features: tuple[str, ...]
    encoding: str | None
    discarded: int


def describe(tfrecord_dir: str | os.PathLike[str], *, verify: bool = True) -> RecordSet:
    """Describes a folder of records, without TensorFlow.

    Args:
        tfrecord_dir: A folder that `convert` or TFRecorder has written.
        verify: Compare the shards with the sizes and hashes in the manifest.

    Raises:
        DataError: No such folder, no records, an unfinished conversion, a shard that differs from
            the manifest, or, without a manifest, records that are broken or whose labels have
            different types.

    Example:
        ```python
        import data

        converted = data.convert("photos")
        found = data.describe(converted["tfrecord_dir"])
        print(found.labels, found.counts)
        ```
    """
    folder = files.checked(tfrecord_dir)
    manifest = read_manifest(folder)
    if manifest is None:
        return _describe_without_manifest(folder)
    if verify:
        verify_shards(folder, manifest)
    _check_labels(folder, manifest)
    counts = manifest["counts"]
    return RecordSet(
        tfrecord_dir=folder,
        labels=tuple(manifest["labels"]),
        counts=counts,
        patterns={split: _pattern(split, manifest["options"]["gzip"]) for split in counts},
        features=tuple(manifest["features"]),
        encoding=manifest["encoding"],
        discarded=manifest["discarded"],
    )


def check_sizes(folder: str, manifest: Manifest) -> None:
    """Compares the names and sizes of the shards with the manifest, from one listing.

    Raises:
        DataError: A shard is missing, has another size, or is not in the manifest.
    """
    listed = {shard["file"]: shard for shard in manifest["shards"]}
    found = {name: size for name, size in files.sizes(folder).items() if _split_of(name)}
    if extra := sorted(found.keys() - listed.keys()):
        raise _mismatch(folder, f"{extra[0]} is not in manifest.json")
    for name, shard in listed.items():
        if name not in found:
            raise _mismatch(folder, f"{name} is missing")
        if found[name] != shard["bytes"]:
            raise _mismatch(folder, f"{name} has {found[name]} bytes, expected {shard['bytes']}")


def verify_shards(folder: str, manifest: Manifest) -> None:
    """Compares names, sizes and hashes of the shards with the manifest.

    Raises:
        DataError: As `check_sizes`; or the content of a shard has changed.
    """
    check_sizes(folder, manifest)
    listed = {shard["file"]: shard["sha256"] for shard in manifest["shards"]}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = pool.map(lambda name: files.sha256(files.join(folder, name)), listed)
        for (name, expected), digest in zip(listed.items(), digests, strict=True):
            if digest != expected:
                raise _mismatch(folder, f"the content of {name} has changed")


def shards_of(folder: str) -> dict[str, list[str]]:
    """Lists the shards of a folder: split (lower case) to their paths in order.

    Raises:
        DataError: No such folder, no shards, a split with compressed and plain shards, or an
            unfinished conversion.
    """
    if files.is_file(folder):
        raise DataError(f"{folder} is a file", "Expected a folder of records.")
    if not files.exists(folder):
        raise NotFoundError(f"No such folder: {folder}")
    refuse_unfinished(folder)
    shards: dict[str, list[str]] = {}
    for name in files.sizes(folder):
        if split := _split_of(name):
            shards.setdefault(split, []).append(files.join(folder, name))
        elif ".tfrecord" in name:
            raise DataError(f"{folder}: {name} is not the name of a shard", _EXPECTED_SHARDS)
    if not shards:
        raise NotFoundError(
            f"No records in {folder}",
            _EXPECTED_SHARDS,
        )
    for split, paths in shards.items():
        # One file pattern names the shards of a split: the others would be left out.
        if len({path.endswith(".gz") for path in paths}) > 1:
            raise DataError(
                f"{folder}: some shards of {split} end in .gz and some do not",
                f"Found: {listing([path.rpartition('/')[2] for path in paths])}.",
                "Keep one kind in the folder, or convert the photos again.",
            )
    return {split.lower(): shards[split.lower()] for split in SPLITS if split.lower() in shards}


def read_shard(path: str) -> Iterator[Features]:
    """Reads the features of each record of a shard, as `data.record.records.parse` returns them.

    Raises:
        DataError: The file or a record is broken.
    """
    for number, record in enumerate(tfrecord.read(path), start=1):
        try:
            yield parse(record)
        except DecodeError as error:
            raise DataError(
                f"{path}: record {number} is not a tf.train.Example", "Convert the photos again."
            ) from error


def _describe_without_manifest(folder: str) -> RecordSet:
    """Describes a folder without a manifest, as TFRecorder writes it; reads all records."""
    shards = shards_of(folder)
    labels = read_vocabulary(folder, LABEL)
    counts: dict[str, dict[str, int]] = {}
    features: set[str] = set()
    encoding: str | None = None
    label_type: type | None = None
    for split, paths in shards.items():
        indices: Counter[int] = Counter()
        records = 0
        for parsed in itertools.chain(*map(read_shard, paths)):
            records += 1
            features |= parsed.keys()
            if isinstance(image := parsed.get(IMAGE), bytes):
                encoding = JPEG if image.startswith(JPEG_MAGIC) else RAW
            label = parsed.get(LABEL)
            label_type = label_type or type(label)
            if type(label) is not label_type:
                raise DataError(
                    f"{folder}: {split} record {records} has the label {label!r}",
                    "Expected label indices, which are whole numbers, in all records or in none.",
                )
            if isinstance(label, int):
                indices[label] += 1
        unknown = sorted(i for i in indices if not -1 <= i < len(labels))
        if unknown and labels:
            raise DataError(
                f"{folder}: {split} has label indices outside its vocabulary: {listing(unknown)}",
                f"The vocabulary has {len(labels)} labels.",
            )
        if records and label_type is not int:
            counts[split] = {"": records}
        elif records:
            counts[split] = {
                labels[i] if 0 <= i < len(labels) else str(i): indices[i]
                for i in sorted(indices, key=lambda index: (index < 0, index))
            }
    if label_type is not int:
        labels = ()
    elif not labels:
        labels = tuple(number_labels(int(label) for count in counts.values() for label in count))
    return RecordSet(
        tfrecord_dir=folder,
        labels=labels,
        counts=counts,
        patterns={split: _pattern(split, shards[split][0].endswith(".gz")) for split in counts},
        features=tuple(sorted(features)),
        encoding=encoding,
        discarded=_discarded(folder),
    )


def _check_labels(folder: str, manifest: Manifest) -> None:
    """Compares the labels in the manifest with the vocabulary of the label column."""
    column = Schema({name: ColumnType[kind] for name, kind in manifest["schema"].items()}).label_key
    stored = dict(zip(manifest["vocabularies"], read_vocabularies(folder), strict=False))
    if column is None or column not in stored:
        return
    if stored[column] != tuple(vocabulary_lines(manifest["labels"], column)):
        raise _mismatch(folder, f"its labels are not the vocabulary of the column {column!r}")


def _discarded(folder: str) -> int:
    """Counts the rows that TFRecorder discarded: one per line of its lists."""
    names = [name for name in files.sizes(folder) if name.startswith("discarded-data")]
    return sum(len(files.read(files.join(folder, name)).splitlines()) for name in names)


def _pattern(split: str, gzip: bool) -> str:
    return f"{split}-*.tfrecord.gz" if gzip else f"{split}-*.tfrecord"


def _split_of(name: str) -> str | None:
    """Returns the split of a shard by its file name; None for other files."""
    split = name.partition("-")[0]
    known = split.upper() in SPLITS and name.endswith((".tfrecord", ".tfrecord.gz"))
    return split if known and split.islower() else None


def _mismatch(folder: str, what: str) -> DataError:
    return DataError(f"{folder} does not match its manifest: {what}", "Convert the photos again.")
