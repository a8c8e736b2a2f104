"""`convert`: a table, CSV file or folder of photos to a folder of TFRecords."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from data.conversion import in_place, local
from data.conversion.journal import describe_rows
from data.conversion.naming import folder_name
from data.conversion.plan import ConversionPlan
from data.conversion.planning import make_plan
from data.conversion.progress import Progress, show_progress
from data.conversion.result import ConversionResult, result
from data.errors import DataError, MissingError, NotFoundError, listing
from data.record.input_schema import IMAGE_CSV_SCHEMA, Schema
from data.record.photos import MAX_PIXELS, EncodeOptions
from data.record.records import ENCODINGS, JPEG, RAW, SPLITS
from data.record.types import ColumnType, SplitKey
from data.sources import folders, table
from data.storage import files

LOG = logging.getLogger("pawprint.data")

ConversionSource: TypeAlias = pd.DataFrame | str | os.PathLike[str]

LOCAL = "DirectRunner"
"""TFRecorder's name for a conversion on this machine; it uses worker processes, not Beam."""


def convert(
    source: ConversionSource,
    output_dir: str | os.PathLike[str] = "./tfrecords",
    schema: Mapping[str, ColumnType] = IMAGE_CSV_SCHEMA,
    header: str | int | Sequence[int] | None = "infer",
    names: Sequence[str] | None = None,
    runner: str = LOCAL,
    project: str | None = None,
    region: str | None = None,
    tfrecorder_wheel: str | None = None,
    dataflow_options: Mapping[str, Any] | None = None,
    job_label: str = "convert",
    compression: str | None = "gzip",
    num_shards: int = 0,
    *,
    conflicts: str = "keep",
    encoding: str = RAW,
    exif: bool | None = None,
    max_bad_fraction: float | None = None,
    max_pixels: int = MAX_PIXELS,
    resume: bool = False,
    tfrecord_dir: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ConversionResult:
    """Converts photos and their labels to TFRecords in TFRecorder's layout.

    Equal photos and options give equal shards. A local folder is created atomically, with
    `manifest.json` and `discarded.csv`. In Cloud Storage, and with a Beam runner, the folder is
    written in place, and readers refuse it until it is finished.

    Args:
        source: A table, the path or URI of a CSV file, or a folder of photos as for `data.scan`,
            which may have a single label.
        output_dir: The parent of the new folder, `tfrecorder-<time>-<job_label>`.
        schema: Column name to type. Columns are matched by name, others are ignored.
        header, names: How to read the CSV file, as in `pandas.read_csv`.
        runner: `DirectRunner` uses the cores of this machine, one per shard; `DataflowRunner`
            submits a job and returns; any other name runs that Beam runner.
        project, region: Google Cloud project and region of the Dataflow job.
        tfrecorder_wheel: Ignored; accepted for compatibility with TFRecorder.
        dataflow_options: Further Beam pipeline options by name.
        job_label: Suffix of the names of the folder and the job.
        compression: `gzip` or None, for raw records. JPEG records are never compressed.
        num_shards: Number of shards per split; 0 chooses it by the number of rows.
        conflicts: How to treat the same photo under two labels: `error`, `drop` (all its copies) or
            `keep`, as TFRecorder does. With `keep`, the photos of a table are not read first.
        encoding: `raw` (base64 pixels, as in TFRecorder) or `jpeg` (JPEG files).
        exif: Turn photos upright by their EXIF orientation; None does so for jpeg only.
        max_bad_fraction: Stop when more than this share of the photos is bad; None never stops.
        max_pixels: Refuse photos with more pixels.
        resume: Resume an unfinished conversion of the same rows, photos and options: the newest in
            `output_dir`, or that in `tfrecord_dir`, which may also be finished.
        tfrecord_dir: The folder to write, instead of a new one in `output_dir`.
        workers: Number of processes on this machine; None for one per core.
        progress: Called with the number of rows done and the total; None shows a progress bar, or
            lines without a terminal.

    Returns:
        `{"job_id", "metrics": {"rows", "good_images", "bad_images"}, "tfrecord_dir"}`, and for
        Dataflow `{"job_id", "dataflow_url", "tfrecord_dir"}`. Its text shows the counts.

    Raises:
        DataError: The source, the photos or the options are invalid.
        OSError: Cloud Storage cannot be reached, or refuses access, before the conversion begins.

    Example:
        ```python
        import data

        converted = data.convert("photos", "tfrecords", encoding="jpeg", max_bad_fraction=0.01)
        print(converted)
        ```
    """
    schema = Schema(schema)
    options = check_encoding(encoding, exif, max_pixels)
    gzip = check_compression(compression, encoding)
    check_numbers(num_shards, max_bad_fraction, workers)
    on_this_machine = is_local_runner(runner)
    output_dir = files.checked(output_dir)
    folder = None if tfrecord_dir is None else files.checked_target(tfrecord_dir)
    name = files.join(output_dir, folder_name(job_label))
    if tfrecorder_wheel is not None:
        LOG.warning("tfrecorder_wheel is not needed and is ignored")
    rows, origin = read_source(source, schema, header, names, conflicts)
    plan = make_plan(rows, schema, options, gzip=gzip, num_shards=num_shards, source=origin)
    check_plan(plan)

    if folder is None and resume:
        place = in_place if files.is_remote(output_dir) or not on_this_machine else local
        folder = place.resumable_folder(output_dir, plan.digest)
    if not on_this_machine:
        from data.conversion.beam_job import convert_with_beam

        return convert_with_beam(
            plan,
            folder or name,
            fresh=folder is None,
            runner=runner,
            project=project,
            region=region,
            options=dataflow_options,
            job_label=job_label,
            resume=resume,
            max_bad_fraction=max_bad_fraction,
        )
    if folder is None:
        remote = files.is_remote(output_dir)
        folder = in_place.fresh_folder(plan, name) if remote else local.fresh_folder(name)
        resume = True  # the folder has been reserved for this plan
    with show_progress(progress) as update:
        manifest = local.convert_locally(
            plan,
            folder,
            resume=resume,
            max_bad_fraction=max_bad_fraction,
            workers=workers,
            progress=update,
        )
    return result(manifest, folder)


def read_source(
    source: ConversionSource,
    schema: Schema,
    header: str | int | Sequence[int] | None = "infer",
    names: Sequence[str] | None = None,
    conflicts: str = "keep",
) -> tuple[pd.DataFrame, str]:
    """Reads and checks the rows of a source.

    Returns:
        The rows, and the origin of the rows for the manifest.

    Raises:
        DataError: An unsupported type of source, or invalid content.
    """
    if isinstance(source, pd.DataFrame):
        if missing := [name for name in names or () if name not in source.columns]:
            raise MissingError(
                f"The table lacks the columns {listing(missing)} in names",
                f"Found: {listing(source.columns, 20)}.",
            )
        rows = table.check_table(source[list(names)] if names else source, schema)
        return _check_conflicts(rows, schema, conflicts), "table"
    if not isinstance(source, str | os.PathLike):
        raise DataError(
            f"Cannot convert a {type(source).__name__}",
            "Expected a pandas.DataFrame, the path of a CSV file or a folder of photos.",
        )
    path = files.checked(source)
    if files.is_file(path):
        rows = table.read_csv(path, schema, header=header, names=names)
        return _check_conflicts(rows, schema, conflicts), path
    if not files.exists(path):
        raise NotFoundError(f"No such file or folder: {path}", f"Working directory: {Path.cwd()}.")
    if schema != IMAGE_CSV_SCHEMA:
        raise DataError(
            "A folder of photos has only the columns of IMAGE_CSV_SCHEMA",
            "Convert a table or a CSV file for other columns.",
        )
    return folders.list_table(path, conflicts=conflicts), path


def _check_conflicts(rows: pd.DataFrame, schema: Schema, conflicts: str) -> pd.DataFrame:
    """Checks that no photo has two labels, unless `conflicts` is `keep`; returns the rows."""
    if conflicts == "keep":
        return rows
    return folders.check_photos(rows, schema, conflicts=conflicts)


def is_local_runner(runner: str) -> bool:
    """Whether the runner is the processes of this machine, not Beam.

    Raises:
        DataError: Not the name of a runner.
    """
    if not isinstance(runner, str) or not runner:
        raise MissingError(
            f"runner must be the name of a Beam runner, such as {LOCAL}. Received: {runner!r}"
        )
    return runner.lower() == LOCAL.lower()


def check_plan(plan: ConversionPlan) -> None:
    """Refuses a plan without TRAIN rows."""
    if not any(job["split"] == SPLITS[0] for job in plan.shards):
        split = next(name for name, kind in plan.schema.items() if kind == SplitKey.name)
        raise MissingError(
            f"No row has TRAIN in column {split!r}",
            "TRAIN rows are needed for the label vocabulary and for training.",
            *describe_rows(plan.refused),
        )


def check_encoding(encoding: str, exif: bool | None, max_pixels: int) -> EncodeOptions:
    """Validates the options of encoding."""
    if encoding not in ENCODINGS:
        raise DataError(f"Unknown encoding: {encoding!r}", f"Allowed: {', '.join(ENCODINGS)}.")
    if max_pixels < 1:
        raise DataError(f"max_pixels must be at least 1. Received: {max_pixels}")
    return EncodeOptions(encoding, encoding == JPEG if exif is None else exif, max_pixels)


def check_compression(compression: str | bool | None, encoding: str) -> bool:
    """Validates the compression; returns whether to compress. As in TFRecorder, True is gzip."""
    choice = "gzip" if compression is True else str(compression or "none").lower()
    if choice not in ("gzip", "none"):
        raise DataError(f"Unknown compression: {compression!r}", "Allowed: gzip, None.")
    return choice == "gzip" and encoding == RAW


def check_numbers(num_shards: int, max_bad_fraction: float | None, workers: int | None) -> None:
    """Validates the numeric options."""
    if not isinstance(num_shards, int) or num_shards < 0:
        raise DataError(f"num_shards must be 0 (automatic) or more. Received: {num_shards!r}")
    if max_bad_fraction is not None and not 0 <= max_bad_fraction <= 1:
        raise DataError(
            f"max_bad_fraction must be a share from 0 to 1. Received: {max_bad_fraction}"
        )
    if workers is not None and workers < 1:
        raise DataError(f"workers must be at least 1. Received: {workers}")
