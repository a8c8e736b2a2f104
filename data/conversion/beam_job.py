"""Conversion as a Beam pipeline, for Dataflow and every other Beam runner.

The elements are the shards of the plan. `data.conversion.shard.write_shard_once` writes each, as in
a local conversion. The shards' jobs are files in `<folder>/.work`, so the size of the pipeline does
not depend on the number of photos. The last step writes the manifest. The job writes in place
(`data.conversion.in_place`), to any file system that the workers share.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from data.conversion import in_place, journal
from data.conversion.beam_options import DATAFLOW, dataflow_url, job_options, workers_package
from data.conversion.manifest import read_manifest
from data.conversion.plan import ConversionPlan, ShardJob
from data.conversion.result import ConversionResult, result
from data.conversion.shard import WORK, write_shard_once
from data.errors import DataError
from data.storage import files, gs

_JOBS = "jobs"
_ERROR = "error.json"


def convert_with_beam(
    plan: ConversionPlan,
    folder: str,
    *,
    runner: str,
    project: str | None = None,
    region: str | None = None,
    options: Mapping[str, Any] | None = None,
    job_label: str = "convert",
    fresh: bool = False,
    resume: bool = False,
    max_bad_fraction: float | None = None,
) -> ConversionResult:
    """Runs a plan as a Beam pipeline; on Dataflow, submits it and returns.

    Args:
        plan: The work to do.
        folder: The folder to create, local or `gs://`; it must not exist, unless `resume` is set
            and it holds the same conversion, finished or not.
        runner: The name of a Beam runner.
        project, region, options, job_label: See `data.convert`.
        fresh: Create a new folder, with the first free name like `folder`.
        resume: Keep the shards that an earlier job of the same plan finished.
        max_bad_fraction: Fail when more than this share of the rows is bad.

    Raises:
        DataError: The runner would refuse the options or cannot reach the photos or the folder, the
            folder is not empty, or, except on Dataflow, the conversion fails as in `convert`.
    """

    def checked_options() -> dict[str, Any]:
        return job_options(plan, folder, runner, project, region, dict(options or {}), job_label)

    checked = checked_options()
    if fresh:
        folder = in_place.fresh_folder(plan, folder)
        checked = checked_options()  # the job is named after the folder
    elif not (resume and journal.is_resumable(plan, folder)):
        if manifest := journal.finished_manifest(plan, folder, resume):
            return result(manifest, folder, job_id=checked["runner"])
        in_place.start(plan, folder)
        fresh = True
    _stage_jobs(plan, folder)
    if checked["runner"] == DATAFLOW:
        try:
            job_id = _submit(plan, folder, max_bad_fraction, checked)
        except BaseException:
            if fresh:  # no job uses the journal, and there are no shards
                files.delete_folder(files.join(folder, WORK))
            raise
        return ConversionResult(
            job_id=job_id,
            dataflow_url=dataflow_url(job_id, checked["project"], checked["region"]),
            tfrecord_dir=folder,
        )
    try:
        _pipeline(plan, folder, max_bad_fraction, checked).run().wait_until_finish()
    except Exception as error:  # the runner wraps the error of a step
        if recorded := _take_recorded_error(plan, folder):
            raise recorded from error
        raise
    written = read_manifest(folder)
    assert written, "the last step of the pipeline writes the manifest"
    return result(written, folder, job_id=checked["runner"])


class WriteShard(beam.DoFn):
    """Writes a shard: file name to report, as JSON."""

    def __init__(self, folder: str):
        self._folder = folder

    def process(self, name: str) -> Iterator[str]:
        """Writes the shard unless an earlier attempt did; yields its report."""
        job = json.loads(files.read(files.join(self._folder, WORK, _JOBS, name)))
        report = write_shard_once(job, self._folder)
        for metric, count in (
            ("rows", len(job["rows"])),
            ("good_images", report["records"]),
            ("bad_images", len(report["discarded"])),
        ):
            Metrics.counter("pawprint", metric).inc(count)
        yield json.dumps(report)


class Finish(beam.DoFn):
    """Writes the metadata, the discarded rows and, last, the manifest, from all reports."""

    def __init__(self, folder: str, max_bad_fraction: float | None):
        self._folder = folder
        self._max_bad_fraction = max_bad_fraction

    def process(self, reports: list[str]) -> None:
        """Finishes the conversion unless an earlier attempt at this step did."""
        plan = journal.unfinished_plan(self._folder)
        if plan is None:
            return
        try:
            journal.finish(plan, [*map(json.loads, reports)], self._folder, self._max_bad_fraction)
        except DataError as error:  # recorded for the caller, as the runner wraps it
            recorded = {
                "lines": str(error).split("\n  "),
                "discarded": error.discarded,
                "for_good": isinstance(error, journal.NoTrainError),
            }
            files.write(files.join(self._folder, WORK, _ERROR), json.dumps(recorded).encode())
            raise


def _take_recorded_error(plan: ConversionPlan, folder: str) -> DataError | None:
    """Reads and deletes the error that the last step of the pipeline recorded, if any."""
    path = files.join(folder, WORK, _ERROR)
    if not files.exists(path):
        return None
    recorded = json.loads(files.read(path))
    files.delete(path)
    if recorded["for_good"]:
        journal.discard(plan, folder)
    return DataError(*recorded["lines"], discarded=recorded["discarded"])


def _submit(
    plan: ConversionPlan, folder: str, max_bad_fraction: float | None, options: dict[str, Any]
) -> str:
    """Submits the pipeline to Dataflow; returns the id of the job."""
    from apitools.base.py.exceptions import Error

    try:
        with workers_package(options) as complete:
            job_id: str = _pipeline(plan, folder, max_bad_fraction, complete).run().job_id()
    except Error as error:
        raise DataError("Dataflow refused the job", str(error)) from error
    return job_id


def _pipeline(
    plan: ConversionPlan, folder: str, max_bad_fraction: float | None, options: dict[str, Any]
) -> beam.Pipeline:
    """Builds the pipeline: writes the shards, then gathers their reports into the manifest."""
    pipeline = beam.Pipeline(options=PipelineOptions(flags=[], **options))
    (
        pipeline
        | "Shards" >> beam.Create([job["file"] for job in plan.shards], reshuffle=True)
        | "Write" >> beam.ParDo(WriteShard(folder))
        | "Gather" >> beam.combiners.ToList()
        | "Finish" >> beam.ParDo(Finish(folder, max_bad_fraction))
    )
    return pipeline


def _stage_jobs(plan: ConversionPlan, folder: str) -> None:
    """Writes the shards' jobs for the workers; overwrites those of an interrupted attempt."""

    def write(job: ShardJob) -> None:
        files.write(files.join(folder, WORK, _JOBS, job["file"]), json.dumps(job).encode())

    with ThreadPoolExecutor(gs.CONNECTIONS) as pool:
        list(pool.map(write, plan.shards))
