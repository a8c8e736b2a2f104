"""Conversion as one Beam pipeline, for Dataflow and every other Beam runner.

The elements are the plan's shards. `data.conversion.shard.write_shard_once` writes each, as it does
in the worker processes of a local conversion. The jobs lie in `<folder>/.work`, so the pipeline
stays small however many photos there are. The last step writes the manifest. The job writes in
place (`data.conversion.in_place`), on any file system that the workers share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from data.conversion import in_place, journal
from data.conversion.beam_options import DATAFLOW, dataflow_url, job_options, workers_package
from data.conversion.manifest import read_manifest
from data.conversion.plan import Plan
from data.conversion.result import ConversionResult, result
from data.conversion.shard import WORK, write_shard_once
from data.errors import DataError
from data.storage import files, gs

_JOBS = "jobs"
_ERROR = "error.json"


def convert_with_beam(
    plan: Plan,
    folder: str,
    *,
    runner: str,
    project: str | None = None,
    region: str | None = None,
    options: Mapping | None = None,
    job_label: str = "convert",
    fresh: bool = False,
    resume: bool = False,
    max_bad_fraction: float | None = None,
) -> ConversionResult:
    """Runs a plan as a Beam pipeline; on Dataflow, submits it.

    Args:
        plan: What to do.
        folder: The folder to make, local or `gs://`; it must not exist, unless `resume` finds in
            it the same conversion, finished or not.
        runner: A Beam runner's name.
        project, region, options, job_label: See `data.convert`.
        fresh: Make a folder named like this one that nobody has.
        resume: Keep the shards that an earlier job of the same plan finished.
        max_bad_fraction: The job fails when more than this share of the rows is refused.

    Raises:
        DataError: Options that the runner would refuse, photos or folders it cannot reach, a folder
            with something in it, or, where the job is waited for, what `convert` raises.
    """

    def checked_options() -> dict:
        return job_options(plan, folder, runner, project, region, dict(options or {}), job_label)

    checked = checked_options()
    if fresh:
        folder = in_place.claim(plan, folder)
        checked = checked_options()  # the job is named after the folder
    elif not (resume and journal.is_of(plan, folder)):
        if manifest := journal.finished_before(plan, folder, resume):
            return result(manifest, folder, job_id=checked["runner"])
        in_place.start(plan, folder)
        fresh = True
    _stage(plan, folder)
    if checked["runner"] == DATAFLOW:
        try:
            job_id = _submit(plan, folder, max_bad_fraction, checked)
        except BaseException:
            if fresh:  # there is no job that needs them, nor a shard
                files.delete_folder(files.join(folder, WORK))
            raise
        return ConversionResult(
            job_id=job_id,
            dataflow_url=dataflow_url(job_id, checked["project"], checked["region"]),
            tfrecord_dir=folder,
        )
    try:
        _pipeline(plan, folder, max_bad_fraction, checked).run().wait_until_finish()
    except Exception as error:  # the runner's own, around whatever a step raised
        if told := _take_error(plan, folder):
            raise told from error
        raise
    return result(read_manifest(folder), folder, job_id=checked["runner"])


class WriteShard(beam.DoFn):
    """From a shard's file name to its report, as JSON."""

    def __init__(self, folder: str):
        self._folder = folder

    def process(self, name: str):
        """Writes the shard, unless an earlier attempt did."""
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
    """From all reports to the metadata, the list of discards and, last, the manifest."""

    def __init__(self, folder: str, max_bad_fraction: float | None):
        self._folder = folder
        self._max_bad_fraction = max_bad_fraction

    def process(self, reports: list[str]):
        """Ends the conversion; does nothing where an earlier attempt at this step did."""
        plan = journal.started(self._folder)
        if plan is None:
            return
        try:
            journal.finish(plan, [*map(json.loads, reports)], self._folder, self._max_bad_fraction)
        except DataError as error:  # kept for the caller, who sees an error of the runner's else
            told = {
                "lines": str(error).split("\n  "),
                "discarded": error.discarded,
                "for_good": isinstance(error, journal.NoTrainError),
            }
            files.write(files.join(self._folder, WORK, _ERROR), json.dumps(told).encode())
            raise


def _take_error(plan: Plan, folder: str) -> DataError | None:
    """What the last step of the pipeline raised, if it did."""
    kept = files.join(folder, WORK, _ERROR)
    if not files.exists(kept):
        return None
    told = json.loads(files.read(kept))
    files.delete(kept)
    if told["for_good"]:
        journal.discard(plan, folder)
    return DataError(*told["lines"], discarded=told["discarded"])


def _submit(plan: Plan, folder: str, max_bad_fraction: float | None, options: dict) -> str:
    """The id of the job that Dataflow made of the plan."""
    from apitools.base.py.exceptions import Error

    try:
        with workers_package(options) as complete:
            return _pipeline(plan, folder, max_bad_fraction, complete).run().job_id()
    except Error as error:
        raise DataError("Dataflow did not take the job", str(error)) from error


def _pipeline(
    plan: Plan, folder: str, max_bad_fraction: float | None, options: dict
) -> beam.Pipeline:
    """Shards are written, then their reports gathered into the manifest."""
    pipeline = beam.Pipeline(options=PipelineOptions(flags=[], **options))
    (
        pipeline
        | "Shards" >> beam.Create([job["file"] for job in plan.shards], reshuffle=True)
        | "Write" >> beam.ParDo(WriteShard(folder))
        | "Gather" >> beam.combiners.ToList()
        | "Finish" >> beam.ParDo(Finish(folder, max_bad_fraction))
    )
    return pipeline


def _stage(plan: Plan, folder: str) -> None:
    """Writes the shards' jobs to where the workers find them; again where that was broken off."""

    def put(job: dict) -> None:
        files.write(files.join(folder, WORK, _JOBS, job["file"]), json.dumps(job).encode())

    with ThreadPoolExecutor(gs.CONNECTIONS) as pool:
        list(pool.map(put, plan.shards))
