"""Photos to records in the bucket: by Dataflow where the photos are on `gs://`, else from here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data import files
from data.errors import DataError
from data.manifest import MANIFEST
from pipeline.cloud import dataflow, placement

if TYPE_CHECKING:
    from data.result import ConversionResult
    from pipeline.config import Config

_POLL_S = 15
_ENDED_BADLY = ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_DRAINED")


def place(config: Config, photos: Sequence[str]) -> dict:
    """Arguments of `data.convert` that say where the work is done."""
    if config.cloud is None or config.cloud.dataflow is None:
        return {}
    if not all(files.is_remote(uri) for uri in photos):
        return {}
    options = placement.dataflow_options(config)
    return {
        "runner": "DataflowRunner",
        "project": options.pop("project"),
        "region": options.pop("region"),
        "dataflow_options": options,
    }


def wait(config: Config, made: ConversionResult) -> None:
    """Waits for the Dataflow job of a conversion, if there is one.

    Raises:
      DataError: the job failed or was cancelled.
    """
    if "dataflow_url" not in made:
        return
    manifest = files.join(made["tfrecord_dir"], MANIFEST)
    while not files.exists(manifest):
        state, said = _ask(config, made["job_id"])
        if state in _ENDED_BADLY:
            ended = dataflow.how_it_ended(made["job_id"], state, said, made["dataflow_url"])
            raise DataError(f"The photos were not converted. {ended}")
        time.sleep(_POLL_S)


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


def _ask(config: Config, job_id: str) -> tuple[str, str]:
    """The state of a job and, where it ended badly, the errors in its log.

    Raises:
      CloudError: Dataflow did not answer, or refused to.
    """
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.dataflow.internal import apiclient

    options = PipelineOptions(flags=[], **placement.dataflow_options(config))
    try:
        client = apiclient.DataflowApplicationClient(options)
        state = str(client.get_job(job_id).currentState)
        said = client.list_messages(job_id)[0] if state in _ENDED_BADLY else ()
    except Exception as error:
        raise dataflow.explained(error) from error
    errors = [m.messageText for m in said if str(m.messageImportance) == "JOB_MESSAGE_ERROR"]
    return state, "\n".join(errors)
