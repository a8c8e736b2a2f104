"""`describe`: what a folder of records holds, ours or TFRecorder's."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from data.conversion.journal import refuse_unfinished
from data.conversion.manifest import number_labels, read_manifest
from data.conversion.transform_metadata import read_vocabularies, read_vocabulary, vocabulary_lines
from data.errors import DataError, NotFoundError, listing
from data.record import tfrecord
from data.record.input_schema import Schema
from data.record.records import IMAGE, JPEG, JPEG_MAGIC, LABEL, RAW, SPLITS, parse
from data.record.types import ColumnType
from data.storage import files

_SHARD_NAME = "Expected files like train-00000-of-00001.tfrecord.gz."


@dataclass(frozen=True)
class RecordSet:
    """A folder of records.

    Attributes:
        tfrecord_dir: The folder.
        labels: Label names in the order of their index; of whole-number labels above 10,000 those
            that occur.
        counts: Records by split (train, validation, test; those with records) and label name, which
            is empty where labels are not whole numbers.
        patterns: For each of these splits, the glob of its shards, relative to the folder.
        features: The names of the features in the records, sorted.
        encoding: `raw` or `jpeg`; None where the records hold no image.
        discarded: How many rows became no record.
    """

    tfrecord_dir: str
    labels: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    patterns: dict[str, str]
    features: tuple[str, ...]
    encoding: str | None
    discarded: int


def describe(tfrecord_dir: str | os.PathLike, *, verify: bool = True) -> RecordSet:
    """Tells what a folder of records holds. TensorFlow is not needed.

    Args:
        tfrecord_dir: A folder that `convert` or the real TFRecorder wrote.
        verify: Compare the shards with the manifest's sizes and hashes.

    Raises:
        DataError: No such folder, no records, an unfinished conversion, shards that differ from
            the manifest (the shard is named), or, without a manifest, records that are broken or
            whose labels are whole numbers in some and not in others.
    """
    folder = files.checked(tfrecord_dir)
    manifest = read_manifest(folder)
    if manifest is None:
        return _describe_unlisted(folder)
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


def check_sizes(folder: str, manifest: dict) -> None:
    """Refuses shards that are not the manifest's by their names and sizes: one listing.

    Raises:
        DataError: A shard is missing, of another size, or too many.
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


def verify_shards(folder: str, manifest: dict) -> None:
    """Refuses shards that are not the manifest's by their content.

    Raises:
        DataError: As `check_sizes`; a shard's content is another.
    """
    check_sizes(folder, manifest)
    listed = {shard["file"]: shard["sha256"] for shard in manifest["shards"]}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = pool.map(lambda name: files.sha256(files.join(folder, name)), listed)
        for (name, expected), digest in zip(listed.items(), digests, strict=True):
            if digest != expected:
                raise _mismatch(folder, f"the content of {name} has changed")


def shards_of(folder: str) -> dict[str, list[str]]:
    """The shards of each split (lower case) that has some, as paths in order.

    Raises:
        DataError: No such folder, no shards, or an unfinished conversion.
    """
    if files.is_file(folder):
        raise DataError(f"{folder} is a file", "Expected the folder of records that it lies in.")
    if not files.exists(folder):
        raise NotFoundError(f"No such folder: {folder}")
    refuse_unfinished(folder)
    shards: dict[str, list[str]] = {}
    for name in files.sizes(folder):
        if split := _split_of(name):
            shards.setdefault(split, []).append(files.join(folder, name))
        elif ".tfrecord" in name:
            raise DataError(f"{folder}: {name} is not named as a shard is", _SHARD_NAME)
    if not shards:
        raise NotFoundError(
            f"No records in {folder}",
            _SHARD_NAME,
        )
    return {split.lower(): shards[split.lower()] for split in SPLITS if split.lower() in shards}


def read_shard(path: str) -> Iterator[dict]:
    """The features of each record of a shard, as `data.record.records.parse` gives them.

    Raises:
        DataError: The file or a record is broken.
    """
    for number, record in enumerate(tfrecord.read(path), start=1):
        try:
            yield parse(record)
        except DecodeError as error:
            raise DataError(f"{path}: record {number} is no tf.train.Example") from error


def _describe_unlisted(folder: str) -> RecordSet:
    """A folder without a manifest, as the real TFRecorder writes: the records are read once."""
    shards = shards_of(folder)
    labels = read_vocabulary(folder, LABEL)
    counts: dict[str, dict[str, int]] = {}
    features: set[str] = set()
    encoding = kind = None
    for split, paths in shards.items():
        indices: Counter[int | None] = Counter()
        for number, parsed in enumerate(itertools.chain(*map(read_shard, paths)), start=1):
            features |= parsed.keys()
            if isinstance(image := parsed.get(IMAGE), bytes):
                encoding = JPEG if image.startswith(JPEG_MAGIC) else RAW
            label = parsed.get(LABEL)
            kind = kind or type(label)
            if type(label) is not kind:
                raise DataError(
                    f"{folder}: {split} record {number} has the label {label!r}",
                    "Expected whole numbers, the indices of labels, in all records or in none.",
                )
            indices[label if kind is int else None] += 1
        unknown = sorted(i for i in indices if i is not None and not -1 <= i < len(labels))
        if unknown and labels:
            raise DataError(
                f"{folder}: {split} has label indices outside its vocabulary: {listing(unknown)}",
                f"The vocabulary has {len(labels)} labels.",
            )
        if kind is not int and indices:
            counts[split] = {"": indices[None]}
        elif indices:
            counts[split] = {
                labels[i] if 0 <= i < len(labels) else str(i): indices[i]
                for i in sorted(indices, key=lambda index: (index < 0, index))
            }
    if kind is not int:
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


def _check_labels(folder: str, manifest: dict) -> None:
    """Refuses a manifest whose labels are not those of the column that is trained on."""
    column = Schema({name: ColumnType[kind] for name, kind in manifest["schema"].items()}).label_key
    stored = dict(zip(manifest["vocabularies"], read_vocabularies(folder), strict=False))
    if column in stored and stored[column] != tuple(vocabulary_lines(manifest["labels"], column)):
        raise _mismatch(folder, f"its labels are not the vocabulary of the column {column!r}")


def _discarded(folder: str) -> int:
    """TFRecorder's discards: one line a row."""
    names = [name for name in files.sizes(folder) if name.startswith("discarded-data")]
    return sum(len(files.read(files.join(folder, name)).splitlines()) for name in names)


def _pattern(split: str, gzip: bool) -> str:
    return f"{split}-*.tfrecord.gz" if gzip else f"{split}-*.tfrecord"


def _split_of(name: str) -> str | None:
    split = name.partition("-")[0]
    known = split.upper() in SPLITS and name.endswith((".tfrecord", ".tfrecord.gz"))
    return split if known and split.islower() else None


def _mismatch(folder: str, what: str) -> DataError:
    return DataError(f"{folder} does not match its manifest: {what}", "Convert the photos again.")
