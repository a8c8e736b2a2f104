"""The jobs that a run has elsewhere, on Dataflow and in Vertex AI training: named, found, ended.

Cancelling a run ends the containers of its tasks, and leaves alone what these started. So every job
has the label `run`, and Dataflow's, whose listings show no labels, have names made of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.cloud import client, dataflow
from pipeline.cloud.errors import translate_errors

if TYPE_CHECKING:
    from pipeline.config.schema import Config

LABEL = "run"
_LABEL_LENGTH, _NAME_LENGTH = 63, 63  # what the services allow
_UNDER_WAY = ("JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING")


def label(run: str) -> str:
    """The value of the label `run`: the end of the id, which has its time."""
    return run[-_LABEL_LENGTH:]


def name_on_dataflow(component: str, run: str) -> str:
    """The name of the job of a component."""
    head = component.lower()
    return f"{head}-{run[-(_NAME_LENGTH - len(head) - 1) :].lstrip('-')}"


def active(config: Config, name: str) -> str | None:
    """The id of the job on Dataflow that has this name and is not over.

    Raises:
        CloudError: Dataflow did not answer, or refused to.
    """
    with dataflow.translate_errors():
        service = dataflow.client(config)
        return next((job.id for job in _active(service) if job.name == name), None)


def cancel(config: Config, run: str) -> list[str]:
    """Cancels the jobs of a run that are not over; returns a line for each.

    Raises:
        CloudError: a service did not answer, or refused to.
    """
    done = []
    if config.cloud.training:
        done += _cancel_training(config, run)
    if config.cloud.dataflow:
        names = [name_on_dataflow(one, run) for one in dataflow.COMPONENTS]
        done += _cancel_on_dataflow(config, names)
    return done


def _cancel_training(config: Config, run: str) -> list[str]:
    from google.cloud import aiplatform

    done = []
    with translate_errors(config.cloud, f"cancel the training of {run}"):
        client.connect(config.cloud)
        for job in aiplatform.CustomJob.list(filter=f'labels.{LABEL}="{label(run)}"'):
            if job.state.name in _UNDER_WAY:
                job.cancel()
                done.append(f"training job {job.name} is being cancelled")
    return done


def _cancel_on_dataflow(config: Config, names: list[str]) -> list[str]:
    done = []
    with dataflow.translate_errors():
        service = dataflow.client(config)
        for job in _active(service):
            if job.name in names:
                service.modify_job_state(job.id, "JOB_STATE_CANCELLED")
                done.append(f"Dataflow's job {job.id} is being cancelled")
    return done


def _active(service) -> Iterator:
    """The jobs of the region that are not over, as Dataflow's messages."""
    from apache_beam.runners.dataflow.internal.clients import dataflow as api

    where, token = service.google_cloud_options, None
    kind = api.DataflowProjectsLocationsJobsListRequest
    while True:
        asked = kind(
            projectId=where.project,
            location=where.region,
            filter=kind.FilterValueValuesEnum.ACTIVE,
            pageToken=token,
        )
        # Beam's client itself has no method for it.
        answer = service._client.projects_locations_jobs.List(asked)
        yield from answer.jobs
        token = answer.nextPageToken
        if not token:
            return
