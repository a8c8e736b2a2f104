"""Photos to records in the bucket: by Dataflow where the photos are on `gs://`, else from here."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import data
from data.conversion.manifest import MANIFEST
from data.errors import DataError
from data.storage import files
from pipeline.cloud import dataflow, jobs
from pipeline.cloud.errors import CloudError

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.schema import Config

_POLL_S = 15
_ENDED_BADLY = ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_DRAINED")
_LOG = logging.getLogger("pawprint.cloud")


def convert(config: Config, table: pd.DataFrame, folder: str, **options) -> None:
    """`data.convert` into `folder`, which is there at the end; on Dataflow if that is the place.

    A job that an earlier call started, and that is still at it, is waited for.

    Raises:
        DataError: photos, rows or options that cannot be used.
        CloudError: Dataflow did not answer, refused the job, or did not do it.
    """
    if not on_dataflow(config, table["image_uri"]):
        data.convert(table, tfrecord_dir=folder, **options)
        return
    dataflow.warn_of_version_mismatch()
    settings = dataflow.options(config)
    settings["job_name"] = _job_name(folder)
    job = jobs.active_job(config, settings["job_name"])
    if job is None:
        with _translate_refusals():
            made = data.convert(
                table,
                tfrecord_dir=folder,
                runner="DataflowRunner",
                project=settings.pop("project"),
                region=settings.pop("region"),
                dataflow_options=settings,
                **options,
            )
        job = made["job_id"]
    _wait(config, job, folder)


def on_dataflow(config: Config, photos: Sequence[str]) -> bool:
    """Whether Dataflow converts these photos."""
    if config.cloud is None or config.cloud.dataflow is None:
        return False
    return all(files.is_remote(uri) for uri in photos)


def check_records(folder: str) -> None:
    """Refuses records that the cloud cannot reach.

    Raises:
        DataError: they are not on `gs://`.
    """
    if not files.is_remote(folder):
        raise DataError(
            f"{folder} is not on gs://",
            "The pipeline reads its records on Google Cloud: copy them with "
            f"`gcloud storage cp -r {folder} gs://BUCKET/records`, or give the photos.",
        )


def _job_name(folder: str) -> str:
    """One for each folder, by which its job is found again. Folders may begin with a digit."""
    return f"convert-{hashlib.sha256(folder.encode()).hexdigest()[:12]}"


@contextlib.contextmanager
def _translate_refusals() -> Iterator[None]:
    """Raises CloudError where `data` tells what Dataflow's client raised."""
    with dataflow.translate_errors():
        try:
            yield
        except DataError as error:
            told = dataflow.translate_error(error.__cause__) if error.__cause__ else error
            if isinstance(told, CloudError):
                raise told from error
            raise


def _wait(config: Config, job: str, folder: str) -> None:
    """Waits until a job has made its folder."""
    from data.conversion.beam_options import dataflow_url

    page = dataflow_url(job, config.cloud.project, config.cloud.region)
    _LOG.info("Dataflow converts the photos: %s", page)
    manifest = files.join(folder, MANIFEST)
    try:
        while not files.exists(manifest):
            state, said = _ask(config, job)
            if state in _ENDED_BADLY:
                ended = dataflow.describe_failure(job, state, said, page)
                raise CloudError(f"The photos were not converted. {ended}")
            if state == "JOB_STATE_DONE" and not files.exists(manifest):
                raise CloudError(
                    f"Dataflow job {job} is done, but {manifest} is not there: was it deleted? "
                    f"Give the same command again.\n  job {page}"
                )
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        with dataflow.translate_errors():
            dataflow.client(config).modify_job_state(job, "JOB_STATE_CANCELLED")
        raise CloudError(
            f"interrupted: Dataflow job {job} is being cancelled; the same command resumes "
            f"from the last completed step.\n  job {page}"
        ) from None


def _ask(config: Config, job: str) -> tuple[str, str]:
    """The state of a job and, where it ended badly, the errors in its log."""
    with dataflow.translate_errors():
        client = dataflow.client(config)
        state = str(client.get_job(job).currentState)
        said = client.list_messages(job)[0] if state in _ENDED_BADLY else ()
    errors = [m.messageText for m in said if str(m.messageImportance) == "JOB_MESSAGE_ERROR"]
    return state, "\n".join(errors)
