"""Runs on Vertex AI Pipelines: submitting, scheduling and cancelling, through Google's client."""

import contextlib
import datetime
import time
from pathlib import Path

from pipeline.cloud import client, jobs, resources
from pipeline.cloud.errors import CloudError, NoAnswerError, translate_errors
from pipeline.config.schema import Config

_CANCEL_S, _POLL_S = 300, 5


def submit(config: Config, spec: Path) -> str:
    """Starts a run of the compiled pipeline in the file `spec`; returns its id.

    Raises:
        CloudError: it was not started.
    """
    from google.cloud.aiplatform import gapic

    cloud, run = config.cloud, run_id(config)
    job = gapic.PipelineJob.from_json(spec.read_text(), ignore_unknown_fields=False)
    job.labels.update(resources.labels(config))
    job.service_account = cloud.service_account
    job.network = cloud.network or ""
    job.runtime_config.failure_policy = (
        gapic.PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_FAST
    )
    try:
        with translate_errors(cloud, "submit the run"):
            # Not PipelineJob.submit, which makes a bucket of its own taste where there is none.
            service = gapic.PipelineServiceClient(
                credentials=client.login(),
                client_options={"api_endpoint": client.endpoint(cloud)},
                transport=client.transport(cloud),
            )
            parent = f"projects/{cloud.project}/locations/{cloud.region}"
            service.create_pipeline_job(parent=parent, pipeline_job=job, pipeline_job_id=run)
    except NoAnswerError:
        # The answer may be all that was lost: the id is ours, so the run can be looked up.
        with contextlib.suppress(CloudError):
            get(config, run)
            return run
        raise
    return run


def schedule(config: Config, spec: Path, cron: str) -> str:
    """Has Vertex AI start a run by a cron expression; returns the schedule's id.

    Args:
        config: with `cloud`.
        spec: the compiled pipeline.
        cron: five fields, with a time zone before them if wanted: `TZ=Europe/Berlin 0 3 * * 1`.

    Raises:
        CloudError: it was not made.
    """
    from google.cloud import aiplatform

    cloud, name = config.cloud, run_id(config)
    try:
        with translate_errors(cloud, "make the schedule"):
            client.connect(cloud)
            job = aiplatform.PipelineJob(
                display_name=config.name,
                template_path=str(spec),
                # The client drops the labels that are in the spec.
                labels=resources.labels(config),
                failure_policy="fast",
            )
            made = aiplatform.PipelineJobSchedule(pipeline_job=job, display_name=name)
            made.create(
                cron=cron,
                max_concurrent_run_count=1,
                service_account=cloud.service_account,
                network=cloud.network,
            )
    except NoAnswerError:
        # The answer may be all that was lost; no other schedule has this name.
        with contextlib.suppress(CloudError), translate_errors(cloud, "look for the schedule"):
            for found in aiplatform.PipelineJobSchedule.list(filter=f'display_name="{name}"'):
                return found.name
        raise
    return made.name


def get(config: Config, run: str):
    """The run as Vertex AI has it, a `google.cloud.aiplatform_v1.PipelineJob`.

    Raises:
        CloudError: there is none, or it cannot be read.
    """
    from google.cloud import aiplatform

    with translate_errors(config.cloud, f"read the run {run}"):
        client.connect(config.cloud)
        return aiplatform.PipelineJob.get(run).gca_resource


def cancel(config: Config, run: str) -> list[str]:
    """Cancels a run and its jobs, or deletes a schedule (whose ids are numbers).

    Jobs of a run that is over are cancelled too: a task that fails, or is cancelled in Google's
    console, leaves them.

    Returns:
        What was done, line by line.

    Raises:
        CloudError: there is no such run or schedule, or nothing of it is left to cancel.
    """
    from google.cloud import aiplatform

    if run.isdigit():
        with translate_errors(config.cloud, f"delete the schedule {run}"):
            client.connect(config.cloud)
            aiplatform.PipelineJobSchedule.get(run).delete()
        return [f"schedule {run} deleted; runs that it started go on"]
    with translate_errors(config.cloud, f"cancel the run {run}"):
        client.connect(config.cloud)
        job = aiplatform.PipelineJob.get(run)
        was_over = job.done()
        told = f"run {run} is over" if was_over else _cancel(job, run)
    cancelled = jobs.cancel(config, run)
    if was_over and not cancelled:
        raise CloudError(f"cannot cancel the run {run}: it is over, and none of its jobs goes on")
    return [told, *(f"  {line}" for line in cancelled)]


def _cancel(job, run: str) -> str:
    """Cancels a run and waits for its containers to end: one that is left may yet start a job."""
    job.cancel()
    until = time.monotonic() + _CANCEL_S
    while not job.done():
        if time.monotonic() > until:
            return f"run {run} is being cancelled; give the command again for jobs it may yet start"
        time.sleep(_POLL_S)
    return f"run {run} is cancelled"


def run_id(config: Config) -> str:
    """An id for a new run: the pipeline's name and the time."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{config.name}-{now:%Y%m%d%H%M%S}"


def page(config: Config, run: str) -> str:
    """The run's page in Google's console."""
    cloud = config.cloud
    place = "schedules" if run.isdigit() else "runs"
    return (
        f"https://console.cloud.google.com/vertex-ai/pipelines/locations/{cloud.region}/{place}/"
        f"{run}?project={cloud.project}"
    )
