"""`convert`: from a table, CSV file or folder of photos to a folder of TFRecords."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from data.conversion import in_place, local
from data.conversion.journal import describe_rows
from data.conversion.naming import folder_name
from data.conversion.plan import Plan
from data.conversion.planning import make_plan
from data.conversion.progress import bar
from data.conversion.result import ConversionResult, result
from data.errors import DataError, MissingError, NotFoundError, listing
from data.record.input_schema import IMAGE_CSV_SCHEMA, Schema
from data.record.photos import MAX_PIXELS, EncodeOptions
from data.record.records import ENCODINGS, JPEG, RAW, SPLITS
from data.record.types import ColumnType, SplitKey
from data.sources import folders, table
from data.storage import files

LOG = logging.getLogger("pawprint.data")

Source = pd.DataFrame | str | os.PathLike

LOCAL = "DirectRunner"
"""TFRecorder's name for a conversion on this machine; ours uses worker processes, not Beam."""


def convert(
    source: Source,
    output_dir: str | os.PathLike = "./tfrecords",
    schema: Mapping[str, ColumnType] = IMAGE_CSV_SCHEMA,
    header: str | int | Sequence[int] | None = "infer",
    names: Sequence[str] | None = None,
    runner: str = LOCAL,
    project: str | None = None,
    region: str | None = None,
    tfrecorder_wheel: str | None = None,
    dataflow_options: Mapping | None = None,
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
    tfrecord_dir: str | os.PathLike | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ConversionResult:
    """Converts photos and their labels to TFRecords in TFRecorder's layout.

    Equal photos and options give equal shards. A local folder appears whole or not at all, with
    `manifest.json` and `discarded.csv` in it; in Cloud Storage, and by a Beam runner, the work is
    done in place, and readers refuse the folder until it is finished.

    Args:
        source: A table, the path or URI of a CSV file, or a folder of photos, see `data.scan`; one
            label is enough here.
        output_dir: The folder in which a new folder `tfrecorder-<time>-<job_label>` is made.
        schema: What the columns are; found by name, in any order, others ignored.
        header, names: How to read the CSV file, as in `pandas.read_csv`.
        runner: `DirectRunner` works on this machine's cores, one a shard; `DataflowRunner` submits
            a job and returns; any other name is run as that Beam runner.
        project, region: Of Google Cloud, for Dataflow.
        tfrecorder_wheel: Accepted for old calls and not needed.
        dataflow_options: Further Beam pipeline options by name.
        job_label: Ends the folder's and the job's name.
        compression: `gzip` or None, for raw; JPEG files do not shrink and are stored as they are.
        num_shards: Shards of each split; 0 chooses by the number of rows.
        conflicts: What to do about the same photo under two labels: `error`, `drop` (every copy of
            it) or, as TFRecorder did, `keep`, for which a table's photos need not be read first.
        encoding: `raw` (base64 pixels, as TFRecorder) or `jpeg` (JPEG files).
        exif: Turn photos upright by their EXIF orientation; None does so for jpeg only.
        max_bad_fraction: Give up when more than this share of the photos is bad; None never does.
        max_pixels: Photos with more pixels are refused.
        resume: Go on from an unfinished conversion of the same rows, photos and options, the
            newest in `output_dir`, or that of `tfrecord_dir`; there, one that is finished is
            returned as it is.
        tfrecord_dir: Write this very folder instead of one in `output_dir`.
        workers: Processes on this machine; None takes one a core.
        progress: Called with rows done and rows in all; None shows a bar or plain lines.

    Returns:
        `{"job_id", "metrics": {"rows", "good_images", "bad_images"}, "tfrecord_dir"}`, and for
        Dataflow `{"job_id", "dataflow_url", "tfrecord_dir"}`; printing it shows the counts.

    Raises:
        DataError: Anything wrong with the source, the photos or the options.
        OSError: Cloud Storage does not answer, or refuses to, before the conversion begins.
    """
    schema = Schema(schema)
    options = check_encoding(encoding, exif, max_pixels)
    gzip = check_compression(compression, encoding)
    check_numbers(num_shards, max_bad_fraction, workers)
    here = check_runner(runner)
    output_dir = files.checked(output_dir)
    folder = None if tfrecord_dir is None else files.checked_target(tfrecord_dir)
    name = files.join(output_dir, folder_name(job_label))
    if tfrecorder_wheel is not None:
        LOG.warning("tfrecorder_wheel is not needed any more and is ignored")
    rows, origin = read_source(source, schema, header, names, conflicts)
    plan = make_plan(rows, schema, options, gzip=gzip, num_shards=num_shards, source=origin)
    check_plan(plan)

    if folder is None and resume:
        find = in_place if files.is_remote(output_dir) or not here else local
        folder = find.resumable_folder(output_dir, plan.digest)
    if not here:
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
        folder = in_place.claim(plan, name) if remote else local.fresh_folder(name)
        resume = True  # it is this conversion's own
    with bar(progress) as told:
        manifest = local.convert_here(
            plan,
            folder,
            resume=resume,
            max_bad_fraction=max_bad_fraction,
            workers=workers,
            progress=told,
        )
    return result(manifest, folder)


def read_source(
    source: Source,
    schema: Schema,
    header: str | int | Sequence[int] | None = "infer",
    names: Sequence[str] | None = None,
    conflicts: str = "keep",
) -> tuple[pd.DataFrame, str]:
    """The clean rows of a source and what to call it.

    Raises:
        DataError: The source is none of the three kinds, or its content is wrong.
    """
    if isinstance(source, pd.DataFrame):
        if missing := [name for name in names or () if name not in source.columns]:
            raise MissingError(
                f"The table lacks the names {listing(missing)}",
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
        raise NotFoundError(f"No such file or folder: {path}", f"Looked from {Path.cwd()}.")
    if schema != IMAGE_CSV_SCHEMA:
        raise DataError(
            "A folder of photos has the columns of IMAGE_CSV_SCHEMA only",
            "Give a table or a CSV file for other columns.",
        )
    return folders.list_table(path, conflicts=conflicts), path


def _check_conflicts(rows: pd.DataFrame, schema: Schema, conflicts: str) -> pd.DataFrame:
    """The rows, once no photo stands under two labels, unless that is let through."""
    if conflicts == "keep":
        return rows
    return folders.check_photos(rows, schema, conflicts=conflicts)


def check_runner(runner: str) -> bool:
    """Whether the runner is this machine's processes, not Beam."""
    if not isinstance(runner, str) or not runner:
        raise MissingError(f"runner is a Beam runner's name, such as {LOCAL}. Received: {runner!r}")
    return runner.lower() == LOCAL.lower()


def check_plan(plan: Plan) -> None:
    """Refuses a plan that has no rows for TRAIN."""
    if not any(job["split"] == SPLITS[0] for job in plan.shards):
        split = next(name for name, kind in plan.schema.items() if kind == SplitKey.name)
        raise MissingError(
            f"No row has TRAIN in column {split!r}",
            "Without TRAIN rows there is no label vocabulary and nothing to train on.",
            *describe_rows(plan.refused),
        )


def check_encoding(encoding: str, exif: bool | None, max_pixels: int) -> EncodeOptions:
    """The options of encoding, once they are known to make sense."""
    if encoding not in ENCODINGS:
        raise DataError(f"Unknown encoding: {encoding!r}", f"Allowed: {', '.join(ENCODINGS)}.")
    if max_pixels < 1:
        raise DataError(f"max_pixels is to be at least 1. Received: {max_pixels}")
    return EncodeOptions(encoding, encoding == JPEG if exif is None else exif, max_pixels)


def check_compression(compression: str | bool | None, encoding: str) -> bool:
    """Whether shards are compressed; TFRecorder took any true value for gzip."""
    choice = "gzip" if compression is True else str(compression or "none").lower()
    if choice not in ("gzip", "none"):
        raise DataError(f"Unknown compression: {compression!r}", "Allowed: gzip, None.")
    return choice == "gzip" and encoding == RAW


def check_numbers(num_shards: int, max_bad_fraction: float | None, workers: int | None) -> None:
    """Refuses numbers that mean nothing."""
    if not isinstance(num_shards, int) or num_shards < 0:
        raise DataError(f"num_shards is to be 0 (chosen) or more. Received: {num_shards!r}")
    if max_bad_fraction is not None and not 0 <= max_bad_fraction <= 1:
        raise DataError(f"max_bad_fraction is a share from 0 to 1. Received: {max_bad_fraction}")
    if workers is not None and workers < 1:
        raise DataError(f"workers is to be at least 1. Received: {workers}")
