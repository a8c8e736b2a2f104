"""Jobs that a run starts on Dataflow and in Vertex AI training: names, look-up, cancellation.

Cancelling a run ends the containers of its tasks, but not the jobs that these started. So every job
has the label `run`; Dataflow, whose listings omit labels, gets job names that contain the run id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from pipeline.cloud import client, dataflow, resources
from pipeline.cloud.errors import translate_errors

if TYPE_CHECKING:
    from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient

    from pipeline.config.schema import Config

LABEL = "run"
"""Key of the label that holds the run id."""
_MAX_LABEL, _MAX_NAME = 63, 63  # characters that the services allow
_ACTIVE_STATES = ("JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING")


def label_value(run: str) -> str:
    """The value of the label `run`: the end of the run id, which holds its time."""
    return run[-_MAX_LABEL:]


def dataflow_job_name(component: str, run: str) -> str:
    """The name of a component's Dataflow job.

    Example:
        >>> dataflow_job_name("Transform", "pawprint-20260101000000")
        'transform-pawprint-20260101000000'
    """
    head = component.lower()
    return f"{head}-{run[-(_MAX_NAME - len(head) - 1) :].lstrip('-')}"


def active_job(config: Config, name: str) -> str | None:
    """The id of the active Dataflow job of this name; None if there is none.

    Raises:
        CloudError: Dataflow refused the request or did not answer.
    """
    with dataflow.translate_errors():
        service = dataflow.client(config)
        return next((job.id for job in _active_jobs(service) if job.name == name), None)


def cancel(config: Config, run: str) -> list[str]:
    """Cancels the active jobs of a run.

    Returns:
        A line for each job.

    Raises:
        CloudError: a service refused the request or did not answer.
    """
    cloud = resources.cloud_section(config)
    cancelled = []
    if cloud.training:
        cancelled += _cancel_training(config, run)
    if cloud.dataflow:
        names = [dataflow_job_name(component, run) for component in dataflow.COMPONENTS]
        cancelled += _cancel_dataflow(config, names)
    return cancelled


def _cancel_training(config: Config, run: str) -> list[str]:
    from google.cloud import aiplatform

    cloud, cancelled = resources.cloud_section(config), []
    with translate_errors(cloud, f"cancel the training of {run}"):
        client.connect(cloud)
        for job in aiplatform.CustomJob.list(filter=f'labels.{LABEL}="{label_value(run)}"'):
            if job.state.name in _ACTIVE_STATES:
                job.cancel()
                cancelled.append(f"training job {job.name} is being cancelled")
    return cancelled


def _cancel_dataflow(config: Config, names: Collection[str]) -> list[str]:
    cancelled = []
    with dataflow.translate_errors():
        service = dataflow.client(config)
        for job in _active_jobs(service):
            if job.name in names:
                service.modify_job_state(job.id, "JOB_STATE_CANCELLED")
                cancelled.append(f"Dataflow job {job.id} is being cancelled")
    return cancelled


def _active_jobs(service: DataflowApplicationClient) -> Iterator[Any]:
    """The active jobs of the region, as Dataflow's `Job` messages."""
    from apache_beam.runners.dataflow.internal.clients import dataflow as api

    google_cloud, token = service.google_cloud_options, None
    message = api.DataflowProjectsLocationsJobsListRequest
    while True:
        request = message(
            projectId=google_cloud.project,
            location=google_cloud.region,
            filter=message.FilterValueValuesEnum.ACTIVE,
            pageToken=token,
        )
        # Beam's client has no method of its own for this call.
        response = service._client.projects_locations_jobs.List(request)
        yield from response.jobs
        token = response.nextPageToken
        if not token:
            return
