"""From what the user has (photos, an Image CSV, TFRecords) to the records of a run."""

import csv
import dataclasses
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

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

_MB = 1 << 20
_DIGEST_LENGTH = 12
# Bytes on disk for a byte of photos: the records and ImportExampleGen's copy of them. Raw pixels in
# base64 take 5.1 times the JPEG (400 photos of pets, docs/data.md).
_GROWTH = {"jpeg": 2 * 1.05, "raw": 2 * 5.1}
_SIDES = ("image_height", "image_width")
_LABEL = "label"
_NEEDED = ("image", _LABEL)
_FIXED_BYTES = 300 * _MB  # models, evaluation, logs


@dataclasses.dataclass(frozen=True)
class DataSource:
    """What the user gave."""

    kind: Literal["images", "csv", "tfrecords"]
    path: str


@dataclasses.dataclass(frozen=True)
class Ingested:
    """The records of a run and how they came about."""

    records: RecordsConfig
    discarded: list[dict]
    """Files that became no record: path, row, reason, exception."""
    cached: bool
    """Whether the records of an earlier run were used."""
    image_csv: str | None = None
    """The Image CSV that was converted; None where the source is records."""


def ingest(source: DataSource, config: Config, progress: Callable[[int, int], None]) -> Ingested:
    """Converts the source to records below `config.root`, or finds them there from an earlier run.

    With `config.cloud` they lie in its bucket, and Dataflow converts photos that are on `gs://`.

    Raises:
        DataError: photos, rows or records that cannot be used.
        CloudError: Dataflow did not convert them.
    """
    _check_label_column(source, config)
    if source.kind == "tfrecords":
        if config.cloud:
            conversion.check_records(source.path)
        return Ingested(_for_gate(describe(source.path), config), [], cached=False)
    schema = _schema(source, config)
    table = _table(source, config, schema)
    _check_room(table, config)
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
    """The columns that records keep: those of the Image CSV, and those the gate slices by."""
    usual = (*data.IMAGE_CSV_SCHEMA, *IMAGE_FEATURES)
    if source.kind == "images":
        _check_slices(config, usual)
        return data.IMAGE_CSV_SCHEMA
    further = {
        column: data.FloatInput if column in config.gate.edges else data.StringInput
        for column in config.gate.sliced_features()
        if column not in (*usual, IMAGE_SIZE)
    }
    return data.Schema({**data.IMAGE_CSV_SCHEMA, **further})


def _check_label_column(source: DataSource, config: Config) -> None:
    column = config.data.label_column
    if column == _LABEL:
        return
    if source.kind != "csv":
        raise DataError(
            f"data.label_column={column} is for an Image CSV (--csv)",
            f"Labels of --images are its folders; records have theirs in the feature {_LABEL}.",
        )
    if column in (*data.IMAGE_CSV_SCHEMA, *IMAGE_FEATURES, *config.gate.sliced_features()):
        raise DataError(
            f"data.label_column={column} names a column that has another use",
            f"The gate slices by labels as {_LABEL}: gate.slice_by=[{_LABEL}].",
        )


def _check_slices(config: Config, features: Sequence[str]) -> None:
    known = {*features, *([IMAGE_SIZE] if {*_SIDES} <= {*features} else [])}
    if missing := {*config.gate.sliced_features()} - known:
        left = ", ".join(name for name in config.gate.slice_by if name in known)
        raise DataError(
            f"The gate slices by {', '.join(sorted(missing))}, which the records do not have",
            f"They have: {', '.join(features)}. {IMAGE_SIZE} is the longer of {', '.join(_SIDES)}.",
            f"Set gate.slice_by=[{left}], or take further columns from an Image CSV (--csv).",
        )


def _for_gate(records: RecordsConfig, config: Config) -> RecordsConfig:
    """The records, once the gate's bounds are known to be about something in them."""
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
    """Raises DataError for a label that the model's text outputs cannot have."""
    for label in labels:
        try:
            label.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"A label's name is not UTF-8: {os.fsencode(label)!r}",
                "Rename its folder, or the label in the CSV.",
            ) from None


def _write_csv(table: pd.DataFrame, config: Config) -> str:
    """Writes what a scan found as an Image CSV; equal tables give one file."""
    content = image_csv(table)
    name = f"images-{hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]}.csv"
    path = files.join(placement.records(config), name)
    if not files.exists(path):
        files.write(path, content)
    return path


def describe(folder: str) -> RecordsConfig:
    """What a pipeline has to know of records.

    Raises:
        DataError: they cannot be used for training.
    """
    found = data.describe(folder)
    if lacking := [name for name in _NEEDED if name not in found.features]:
        raise DataError(
            f"{folder} has no feature {' and no '.join(lacking)} in its records",
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
            f"{folder} has labels that are no whole numbers",
            "Expected the index of a label in each record, as a column of StringLabel or "
            "IntegerLabel becomes.",
        )
    if len(found.labels) < 2:
        raise DataError(
            f"{folder} has {len(found.labels)} label: {', '.join(found.labels)}",
            "A classifier needs two labels or more.",
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
    """Sha256 of every shard by its name; the manifest has them, and they were compared with it."""
    if manifest := read_manifest(folder):
        return {shard["file"]: shard["sha256"] for shard in manifest["shards"]}
    paths = (path for split in shards_of(folder).values() for path in split)
    return {path.rpartition("/")[2]: files.sha256(path) for path in paths}


def _digest(table: pd.DataFrame, config: Config) -> str:
    """Equal photos, labels, splits and encoding give an equal digest, wherever the photos lie."""
    if DIGEST in table:
        contents = table[DIGEST].tolist()
        names = [Path(uri).name for uri in table["image_uri"]]
    else:
        contents = _stamps(table["image_uri"])
        names = table["image_uri"].tolist()
    rows = list(zip(table["split"], names, table[_LABEL], contents, strict=True))
    usual = {*data.IMAGE_CSV_SCHEMA, DIGEST}
    further = {column: table[column].tolist() for column in table if column not in usual}
    return settings_digest([config.data.encoding, rows, *([further] if further else [])])


def _stamps(uris: Sequence[str]) -> list:
    """What tells one content of each file from another; None for a file that is missing."""
    folders = {uri.rpartition("/")[0] for uri in uris if files.is_remote(uri)}
    stored = {
        f"{folder}/{name}": digest for folder in folders for name, _, digest in gs.entries(folder)
    }
    return [stored.get(uri) if files.is_remote(uri) else _stamp(uri) for uri in uris]


def _stamp(uri: str) -> list | None:
    """Size and time of a local file; None for what is remote or missing."""
    try:
        status = Path(uri).stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _check_room(table: pd.DataFrame, config: Config) -> None:
    if config.cloud:
        return
    photos = sum(stamp[0] for stamp in map(_stamp, table["image_uri"]) if stamp)
    transformed = len(table) * config.model.image_size**2 * 3
    needed = int(photos * _GROWTH[config.data.encoding]) + transformed + _FIXED_BYTES
    free = shutil.disk_usage(config.root).free
    if needed > free:
        raise DataError(
            f"Not enough room in {config.root}: about {needed // _MB:,} MB needed, "
            f"{free // _MB:,} MB free",
            f"{len(table)} files of {photos // _MB:,} MB in all, encoding {config.data.encoding}.",
            "Free some space or choose another --root.",
        )
