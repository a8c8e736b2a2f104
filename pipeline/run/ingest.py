"""Converts the data source of a run (photos, an Image CSV or TFRecords) to its records."""

import csv
import dataclasses
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

import data
from data.conversion.manifest import MANIFEST, read_manifest
from data.errors import DataError
from data.record.records import IMAGE_FEATURES
from data.record_set import shards_of
from data.sources.table import DIGEST, image_csv
from data.storage import files, gs
from pipeline import placement
from pipeline.artifacts.digests import settings_digest
from pipeline.artifacts.names import IMAGE_SIZE
from pipeline.config.schema import Config, RecordsConfig
from pipeline.run import conversion

SourceKind = Literal["images", "csv", "tfrecords"]
SOURCE_KINDS: tuple[SourceKind, ...] = ("images", "csv", "tfrecords")
"""Kinds of data sources; each is also a command-line option."""

_MB = 1 << 20
_DIGEST_LENGTH = 12
# Bytes on disk per byte of the photos: the records and ImportExampleGen's copy of them. Raw pixels
# in base64 take 5.1 times the size of the JPEG file (400 photos of pets, docs/data.md).
_DISK_BYTES = {"jpeg": 2 * 1.05, "raw": 2 * 5.1}
_SIDES = ("image_height", "image_width")
_LABEL = "label"
_REQUIRED = ("image", _LABEL)
_FIXED_BYTES = 300 * _MB  # models, evaluation, logs


@dataclasses.dataclass(frozen=True)
class DataSource:
    """The data that the user starts a run from."""

    kind: SourceKind
    path: str
    """Folder of photos, Image CSV file or folder of TFRecords."""


@dataclasses.dataclass(frozen=True)
class Ingested:
    """The records of a run and their origin."""

    records: RecordsConfig
    discarded: list[dict[str, Any]]
    """Skipped files: path, row, reason, exception."""
    cached: bool
    """Whether an earlier run converted the records."""
    image_csv: str | None = None
    """The Image CSV of the converted photos; None if the source is TFRecords."""


def ingest(source: DataSource, config: Config, progress: Callable[[int, int], None]) -> Ingested:
    """Converts the source to records, or reuses the records of an earlier run.

    Writes the records to the root folder or, with `config.cloud`, to its bucket. Dataflow then
    converts photos on `gs://`.

    Args:
        source: photos, an Image CSV or TFRecords.
        config: the config of the run.
        progress: called with the number of converted photos and the total.

    Raises:
        DataError: photos, rows or records are invalid.
        CloudError: Dataflow did not convert the photos.

    Example:
        >>> source = DataSource("images", "photos")
        >>> ingest(source, load_config("conf/local.yaml"), lambda done, total: None).records.counts
        {'train': {'cat': 160, 'dog': 160}, 'validation': {'cat': 20, 'dog': 20}, ...}
    """
    _check_label_column(source, config)
    if source.kind == "tfrecords":
        if config.cloud:
            conversion.check_records(source.path)
        return Ingested(_for_gate(describe(source.path), config), [], cached=False)
    schema = _schema(source, config)
    table = _table(source, config, schema)
    _check_disk_space(table, config)
    folder = files.join(placement.records(config), _digest(table, config)[:_DIGEST_LENGTH])
    cached = files.exists(files.join(folder, MANIFEST))
    if not cached:
        conversion.convert(
            config,
            table,
            folder,
            schema=schema,
            encoding=config.data.encoding,
            max_bad_fraction=config.data.max_bad_fraction,
            resume=True,
            progress=progress,
        )
    text = files.read(files.join(folder, "discarded.csv")).decode("utf-8", "surrogateescape")
    discarded = list(csv.DictReader(io.StringIO(text, newline="")))
    image_csv = _write_csv(table, config) if source.kind == "images" else source.path
    return Ingested(_for_gate(describe(folder), config), discarded, cached, image_csv)


def _schema(source: DataSource, config: Config) -> data.Schema:
    """Returns the columns to keep in the records: of an Image CSV and of the gate's slices."""
    usual = (*data.IMAGE_CSV_SCHEMA, *IMAGE_FEATURES)
    if source.kind == "images":
        _check_slices(config, usual)
        return data.IMAGE_CSV_SCHEMA
    extra = {
        column: data.FloatInput if column in config.gate.edges else data.StringInput
        for column in config.gate.sliced_features()
        if column not in (*usual, IMAGE_SIZE)
    }
    return data.Schema({**data.IMAGE_CSV_SCHEMA, **extra})


def _check_label_column(source: DataSource, config: Config) -> None:
    column = config.data.label_column
    if column == _LABEL:
        return
    if source.kind != "csv":
        raise DataError(
            f"data.label_column={column} is for an Image CSV (--csv) only",
            f"With --images the folders are the labels, with --tfrecords the feature {_LABEL}.",
        )
    if column in (*data.IMAGE_CSV_SCHEMA, *IMAGE_FEATURES, *config.gate.sliced_features()):
        raise DataError(
            f"data.label_column={column} names a column that has another use",
            f"To slice by labels, set gate.slice_by=[{_LABEL}].",
        )


def _check_slices(config: Config, features: Sequence[str]) -> None:
    known = {*features, *([IMAGE_SIZE] if {*_SIDES} <= {*features} else [])}
    if missing := {*config.gate.sliced_features()} - known:
        left = ", ".join(name for name in config.gate.slice_by if name in known)
        raise DataError(
            f"The gate slices by {', '.join(sorted(missing))}, which the records do not have",
            f"Features: {', '.join(features)}. {IMAGE_SIZE} is the longer of {', '.join(_SIDES)}.",
            f"Set gate.slice_by=[{left}], or add the columns to an Image CSV (--csv).",
        )


def _for_gate(records: RecordsConfig, config: Config) -> RecordsConfig:
    """Returns the records after checking that they have the slices and labels of the gate."""
    _check_slices(config, records.features)
    bounded = {bound.label for bound in config.gate.bounds if bound.label}
    if missing := bounded - {*records.labels}:
        raise DataError(
            f"gate.bounds names the label {', '.join(sorted(missing))}, which no record has",
            f"Labels: {', '.join(records.labels)}.",
        )
    return records


def _table(source: DataSource, config: Config, schema: data.Schema) -> pd.DataFrame:
    if source.kind == "images":
        table = data.scan(source.path, split=config.data.split, conflicts=config.data.conflicts)
    else:
        column = config.data.label_column
        named = {column if name == _LABEL else name: kind for name, kind in schema.items()}
        table = data.read_csv(source.path, named).rename(columns={column: _LABEL})
        table = data.check_photos(table, conflicts=config.data.conflicts)
    data.check_classes(table, needed=("TRAIN", "VALIDATION"), source=source.path)
    _check_names(table[_LABEL].unique())
    return table


def _check_names(labels: Iterable[str]) -> None:
    """Raises DataError for a label that is not UTF-8, as the model returns labels as text."""
    for label in labels:
        try:
            label.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"A label's name is not UTF-8: {os.fsencode(label)!r}",
                "Rename its folder, or the label in the CSV.",
            ) from None


def _write_csv(table: pd.DataFrame, config: Config) -> str:
    """Writes the scanned photos as an Image CSV, named by its digest; returns its path."""
    content = image_csv(table)
    name = f"images-{hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]}.csv"
    path = files.join(placement.records(config), name)
    if not files.exists(path):
        files.write(path, content)
    return path


def describe(folder: str) -> RecordsConfig:
    """Describes the records in a folder.

    Args:
        folder: a local folder or a `gs://` URI.

    Raises:
        DataError: the records cannot be used for training.
    """
    found = data.describe(folder)
    if absent := [name for name in _REQUIRED if name not in found.features]:
        raise DataError(
            f"{folder} has no feature {' and no '.join(absent)} in its records",
            f"Found: {', '.join(found.features)}.",
            "Training needs image (a JPEG, or TFRecorder's base64 pixels) and label (its index).",
        )
    if missing := {"train", "validation"} - set(found.counts):
        raise DataError(
            f"{folder} has no records in {' and '.join(sorted(missing))}",
            f"Found: {', '.join(found.counts)}. Training needs train and validation.",
        )
    if not found.labels:
        raise DataError(
            f"{folder} has labels that are not integers",
            "Expected the index of the label in each record, as converted from a column of "
            "StringLabel or IntegerLabel.",
        )
    if len(found.labels) < 2:
        raise DataError(
            f"{folder} has {len(found.labels)} label: {', '.join(found.labels)}",
            "A classifier needs at least two labels.",
        )
    _check_names(found.labels)
    return RecordsConfig(
        path=found.tfrecord_dir if files.is_remote(folder) else str(Path(folder).resolve()),
        labels=found.labels,
        patterns=found.patterns,
        counts=found.counts,
        features=found.features,
        digest=settings_digest(_shards(folder)),
    )


def _shards(folder: str) -> dict[str, str]:
    """Returns the SHA-256 (hex) of each shard by its name; that of the manifest if there is one."""
    if manifest := read_manifest(folder):
        return {shard["file"]: shard["sha256"] for shard in manifest["shards"]}
    paths = (path for split in shards_of(folder).values() for path in split)
    return {path.rpartition("/")[2]: files.sha256(path) for path in paths}


def _digest(table: pd.DataFrame, config: Config) -> str:
    """Returns the digest of photos, labels, splits and encoding; independent of local paths."""
    if DIGEST in table:
        contents = table[DIGEST].tolist()
        names = [Path(uri).name for uri in table["image_uri"]]
    else:
        contents = _versions(table["image_uri"])
        names = table["image_uri"].tolist()
    rows = list(zip(table["split"], names, table[_LABEL], contents, strict=True))
    usual = {*data.IMAGE_CSV_SCHEMA, DIGEST}
    extra = {column: table[column].tolist() for column in table if column not in usual}
    return settings_digest([config.data.encoding, rows, *([extra] if extra else [])])


def _versions(uris: Sequence[str]) -> list[Any]:
    """Returns a value for each file that changes with its content; None for a missing file."""
    folders = {uri.rpartition("/")[0] for uri in uris if files.is_remote(uri)}
    stored = {
        f"{folder}/{name}": digest for folder in folders for name, _, digest in gs.entries(folder)
    }
    return [stored.get(uri) if files.is_remote(uri) else files.stamp(uri) for uri in uris]


def _check_disk_space(table: pd.DataFrame, config: Config) -> None:
    if config.cloud:
        return
    photos = sum(stamp[0] for stamp in map(files.stamp, table["image_uri"]) if stamp)
    transformed = len(table) * config.model.image_size**2 * 3
    needed = int(photos * _DISK_BYTES[config.data.encoding]) + transformed + _FIXED_BYTES
    free = shutil.disk_usage(config.root).free
    if needed > free:
        raise DataError(
            f"Not enough disk space in {config.root}: about {needed // _MB:,} MB needed, "
            f"{free // _MB:,} MB free",
            f"{len(table)} files of {photos // _MB:,} MB, encoding {config.data.encoding}.",
            "Free disk space or choose another --root.",
        )
