"""Converts photos to records: on Dataflow if all photos are on `gs://`, else on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import data
from data.conversion.manifest import MANIFEST
from data.errors import DataError
from data.storage import files
from pipeline.cloud import dataflow, jobs, resources
from pipeline.cloud.errors import CloudError

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.schema import Config

_POLL_S = 15
_FAILED_STATES = ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_DRAINED")
_LOG = logging.getLogger("pawprint.cloud")


def convert(config: Config, table: pd.DataFrame, folder: str, **options: Any) -> None:
    """Converts photos to records and waits until they are complete.

    If an earlier call has started a Dataflow job for the folder that is still running, waits for
    that job.

    Args:
        config: the config of the run.
        table: the photos, as `data.scan` or `data.read_csv` returns them.
        folder: folder of the records.
        **options: further arguments of `data.convert`.

    Raises:
        DataError: photos, rows or options are invalid.
        CloudError: Dataflow did not answer or refused the job, or the job failed.
    """
    if not on_dataflow(config, table["image_uri"]):
        data.convert(table, tfrecord_dir=folder, **options)
        return
    dataflow.warn_of_version_mismatch()
    settings = dataflow.options(config)
    name = _job_name(folder)
    job = jobs.active_job(config, name)
    if job is None:
        with _translate_refusals():
            result = data.convert(
                table,
                tfrecord_dir=folder,
                runner="DataflowRunner",
                project=settings.pop("project"),
                region=settings.pop("region"),
                dataflow_options=settings | {"job_name": name},
                **options,
            )
        job = result["job_id"]
    _wait(config, job, folder)


def on_dataflow(config: Config, photos: Sequence[str]) -> bool:
    """Whether `convert` converts these photos on Dataflow."""
    if config.cloud is None or config.cloud.dataflow is None:
        return False
    return all(files.is_remote(uri) for uri in photos)


def check_records(folder: str) -> None:
    """Checks that the records are in Cloud Storage.

    Raises:
        DataError: they are not on `gs://`.
    """
    if not files.is_remote(folder):
        raise DataError(
            f"{folder} is not on gs://",
            "On Google Cloud, the pipeline reads records from Cloud Storage only: copy them with "
            f"`gcloud storage cp -r {folder} gs://BUCKET/records`, or start from the photos.",
        )


def _job_name(folder: str) -> str:
    """Returns the job name of a folder, by which a later call finds the job.

    A digest, as folder names may begin with a digit and job names may not.
    """
    return f"convert-{hashlib.sha256(folder.encode()).hexdigest()[:12]}"


@contextlib.contextmanager
def _translate_refusals() -> Iterator[None]:
    """Replaces a DataError that an error of Dataflow's client caused by a CloudError."""
    with dataflow.translate_errors():
        try:
            yield
        except DataError as error:
            cause = error.__cause__
            if isinstance(cause, Exception):
                translated = dataflow.translate_error(cause)
                if isinstance(translated, CloudError):
                    raise translated from error
            raise


def _wait(config: Config, job: str, folder: str) -> None:
    """Waits until a job has written the manifest of its folder."""
    from data.conversion.beam_options import dataflow_url

    cloud = resources.cloud_section(config)
    page = dataflow_url(job, cloud.project, cloud.region)
    _LOG.info("Dataflow converts the photos: %s", page)
    manifest = files.join(folder, MANIFEST)
    try:
        while not files.exists(manifest):
            state, errors = _job_state(config, job)
            if state in _FAILED_STATES:
                ended = dataflow.describe_failure(job, state, errors, page)
                raise CloudError(f"The photos were not converted. {ended}")
            if state == "JOB_STATE_DONE" and not files.exists(manifest):
                raise CloudError(
                    f"Dataflow job {job} is done, but {manifest} does not exist: was it deleted? "
                    f"Run the same command again.\n  job {page}"
                )
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        with dataflow.translate_errors():
            dataflow.client(config).modify_job_state(job, "JOB_STATE_CANCELLED")
        raise CloudError(
            f"interrupted: Dataflow job {job} is being cancelled; the same command resumes "
            f"from the last completed step.\n  job {page}"
        ) from None


def _job_state(config: Config, job: str) -> tuple[str, str]:
    """Returns the state of a job and, if it failed, the error messages in its log."""
    with dataflow.translate_errors():
        client = dataflow.client(config)
        state = str(client.get_job(job).currentState)
        messages = client.list_messages(job)[0] if state in _FAILED_STATES else ()
    errors = [m.messageText for m in messages if str(m.messageImportance) == "JOB_MESSAGE_ERROR"]
    return state, "\n".join(errors)
