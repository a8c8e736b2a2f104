"""Runs on Vertex AI Pipelines: submitting, scheduling and cancelling, through Google's client."""

import contextlib
import datetime
from pathlib import Path

from pipeline.cloud import placement
from pipeline.cloud.errors import CloudError, NoAnswerError, in_words
from pipeline.cloud.options import CloudConfig
from pipeline.config import Config


def submit(config: Config, spec: Path) -> str:
    """Starts a run of the compiled pipeline in the file `spec`; returns its id.

    Raises:
      CloudError: it was not started.
    """
    from google.cloud.aiplatform import gapic

    cloud, run = config.cloud, run_id(config)
    job = gapic.PipelineJob.from_json(spec.read_text(), ignore_unknown_fields=False)
    job.labels.update(placement.labels(config))
    job.service_account = cloud.service_account
    job.network = cloud.network or ""
    job.runtime_config.failure_policy = (
        gapic.PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_FAST
    )
    try:
        with in_words(cloud, "submit the run"):
            # Not PipelineJob.submit, which makes a bucket of its own taste where there is none.
            client = gapic.PipelineServiceClient(
                client_options={"api_endpoint": _endpoint(cloud)},
                transport="rest" if _by_rest(cloud) else None,
            )
            parent = f"projects/{cloud.project}/locations/{cloud.region}"
            client.create_pipeline_job(parent=parent, pipeline_job=job, pipeline_job_id=run)
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

    cloud = config.cloud
    connect(config)
    with in_words(cloud, "make the schedule"):
        job = aiplatform.PipelineJob(
            display_name=config.name,
            template_path=str(spec),
            # The client drops the labels that are in the spec.
            labels=placement.labels(config),
            failure_policy="fast",
        )
        made = aiplatform.PipelineJobSchedule(pipeline_job=job, display_name=config.name)
        made.create(
            cron=cron,
            max_concurrent_run_count=1,
            service_account=cloud.service_account,
            network=cloud.network,
        )
    return made.name


def get(config: Config, run: str):
    """The run as Vertex AI has it, a `google.cloud.aiplatform_v1.PipelineJob`.

    Raises:
      CloudError: there is none, or it cannot be read.
    """
    from google.cloud import aiplatform

    connect(config)
    with in_words(config.cloud, f"read the run {run}"):
        return aiplatform.PipelineJob.get(run).gca_resource


def cancel(config: Config, run: str) -> str:
    """Cancels a run, or deletes a schedule (whose ids are numbers); returns what was done.

    Raises:
      CloudError: there is no such run or schedule, or the run is over.
    """
    from google.cloud import aiplatform

    connect(config)
    if run.isdigit():
        with in_words(config.cloud, f"delete the schedule {run}"):
            aiplatform.PipelineJobSchedule.get(run).delete()
        return f"schedule {run} deleted; runs that it started go on"
    with in_words(config.cloud, f"cancel the run {run}"):
        aiplatform.PipelineJob.get(run).cancel()
    return f"run {run} is being cancelled; its training and Dataflow jobs end with it"


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


def connect(config: Config) -> None:
    """Points Google's client at the project and region."""
    from google.cloud import aiplatform

    cloud = config.cloud
    aiplatform.init(
        project=cloud.project,
        location=cloud.region,
        api_endpoint=cloud.endpoint,
        api_transport="rest" if _by_rest(cloud) else None,
    )


def _endpoint(cloud: CloudConfig) -> str:
    return cloud.endpoint or f"{cloud.region}-aiplatform.googleapis.com"


def _by_rest(cloud: CloudConfig) -> bool:
    return bool(cloud.endpoint) and cloud.endpoint.startswith("http")
