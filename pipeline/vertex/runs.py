"""Submits, schedules, reads and cancels runs on Vertex AI Pipelines with Google's client."""

from __future__ import annotations

import contextlib
import datetime
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cloud import client, jobs, resources
from pipeline.cloud.errors import CloudError, NoAnswerError, translate_errors
from pipeline.config.schema import Config

if TYPE_CHECKING:
    from google.cloud import aiplatform
    from google.cloud.aiplatform_v1 import PipelineJob

_CANCEL_S, _POLL_S = 300, 5


def submit(config: Config, spec: Path) -> str:
    """Starts a run of the compiled pipeline in the file `spec`; returns the run id.

    Raises:
        CloudError: the run was not started.
    """
    from google.cloud.aiplatform import gapic

    cloud, run = resources.cloud_section(config), make_run_id(config)
    job = gapic.PipelineJob.from_json(spec.read_text(), ignore_unknown_fields=False)
    job.labels.update(resources.labels(config))
    job.service_account = cloud.service_account
    job.network = cloud.network or ""
    job.runtime_config.failure_policy = (
        gapic.PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_FAST
    )
    try:
        with translate_errors(cloud, "submit the run"):
            # PipelineJob.submit would create a bucket with its own settings if there is none.
            service = gapic.PipelineServiceClient(
                credentials=client.login(),
                client_options={"api_endpoint": client.endpoint(cloud)},
                transport=client.transport(cloud),
            )
            parent = f"projects/{cloud.project}/locations/{cloud.region}"
            service.create_pipeline_job(parent=parent, pipeline_job=job, pipeline_job_id=run)
    except NoAnswerError:
        # Possibly only the answer was lost: look the run up by the id chosen above.
        with contextlib.suppress(CloudError):
            get(config, run)
            return run
        raise
    return run


def schedule(config: Config, spec: Path, cron: str) -> str:
    """Creates a schedule that starts runs; returns its id.

    Args:
        config: with `cloud`.
        spec: the compiled pipeline.
        cron: five fields, optionally after a time zone, e.g. `TZ=Europe/Berlin 0 3 * * 1`.

    Raises:
        CloudError: the schedule was not created.
    """
    from google.cloud import aiplatform

    cloud, name = resources.cloud_section(config), make_run_id(config)
    try:
        with translate_errors(cloud, "create the schedule"):
            client.connect(cloud)
            job = aiplatform.PipelineJob(
                display_name=config.name,
                template_path=str(spec),
                # The client ignores the labels in the spec.
                labels=resources.labels(config),
                failure_policy="fast",
            )
            created = aiplatform.PipelineJobSchedule(pipeline_job=job, display_name=name)
            created.create(
                cron=cron,
                max_concurrent_run_count=1,
                service_account=cloud.service_account,
                network=cloud.network,
            )
    except NoAnswerError:
        # Possibly only the answer was lost: no other schedule has this name.
        with contextlib.suppress(CloudError), translate_errors(cloud, "look for the schedule"):
            for found in aiplatform.PipelineJobSchedule.list(filter=f'display_name="{name}"'):
                return str(found.name)
        raise
    return str(created.name)


def get(config: Config, run: str) -> PipelineJob:
    """Reads a run from Vertex AI.

    Raises:
        CloudError: the run does not exist or cannot be read.
    """
    from google.cloud import aiplatform

    cloud = resources.cloud_section(config)
    with translate_errors(cloud, f"read the run {run}"):
        client.connect(cloud)
        return aiplatform.PipelineJob.get(run).gca_resource


def cancel(config: Config, run: str) -> list[str]:
    """Cancels a run and its jobs, or deletes a schedule.

    Also cancels the jobs of a run that has ended: a task that failed, or was cancelled in Google's
    console, leaves its job running.

    Args:
        config: with `cloud`.
        run: id of a run, or of a schedule, which is a number.

    Returns:
        A line for each action.

    Raises:
        CloudError: the run or schedule does not exist, or the run has ended without active jobs.
    """
    from google.cloud import aiplatform

    cloud = resources.cloud_section(config)
    if run.isdigit():
        with translate_errors(cloud, f"delete the schedule {run}"):
            client.connect(cloud)
            aiplatform.PipelineJobSchedule.get(run).delete()
        return [f"schedule {run} deleted; runs that it started continue"]
    with translate_errors(cloud, f"cancel the run {run}"):
        client.connect(cloud)
        job = aiplatform.PipelineJob.get(run)
        had_ended = job.done()
        outcome = f"run {run} has ended" if had_ended else _cancel(job, run)
    cancelled = jobs.cancel(config, run)
    if had_ended and not cancelled:
        raise CloudError(f"cannot cancel the run {run}: it has ended and has no active jobs")
    return [outcome, *(f"  {line}" for line in cancelled)]


def _cancel(job: aiplatform.PipelineJob, run: str) -> str:
    """Cancels a run and waits for its containers to end: until then they can start jobs."""
    job.cancel()
    until = time.monotonic() + _CANCEL_S
    while not job.done():
        if time.monotonic() > until:
            return f"run {run} is being cancelled; repeat the command to cancel jobs it starts late"
        time.sleep(_POLL_S)
    return f"run {run} is cancelled"


def make_run_id(config: Config) -> str:
    """The id of a new run: the pipeline's name and the time in UTC."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{config.name}-{now:%Y%m%d%H%M%S}"


def console_url(config: Config, run: str) -> str:
    """The page of a run or a schedule in Google's console."""
    cloud = resources.cloud_section(config)
    kind = "schedules" if run.isdigit() else "runs"
    return (
        f"https://console.cloud.google.com/vertex-ai/pipelines/locations/{cloud.region}/{kind}/"
        f"{run}?project={cloud.project}"
    )
