"""Dataflow jobs: pipeline options, client, error messages.

Beam's exceptions are recognised by name: every error of a run passes through `translate_error`, and
importing Beam's Dataflow client takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pipeline.cloud import resources
from pipeline.cloud.errors import CloudError, NoAnswerError, advice

if TYPE_CHECKING:
    from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient

    from pipeline.config.schema import Config

COMPONENTS = ("ImportExampleGen", "StatisticsGen", "Transform", "Evaluator")
"""Components that run as one Dataflow job each."""

IMAGE_PYTHON, IMAGE_BEAM = "3.12", "2.77.0"
"""Versions in docker/worker.Dockerfile."""

_LOG = logging.getLogger("pawprint.cloud")
_OWN_MODULE = re.compile(r"No module named '(data|models|pipeline)(?:\.[\w.]+)?'")
_MISSING_CODE = (
    "Its workers do not have this project's code (they found no module {module!r}). Set cloud.image"
    " to an image that has it, see docs/images.md; with Beam's own flags: --sdk_container_image="
    "IMAGE or, for a conversion alone (setup.py asks for neither TensorFlow nor TFX), "
    "--setup_file=PATH/setup.py, which has every worker build the project as it starts."
)
_TRANSPORT = ("apitools.", "httplib2", "http.client", "requests.exceptions", "urllib3.exceptions")
_SAME_NAME = "Wait for that job to end, or cancel it."
_VERBS = {"failed": "failed", "cancelled": "was cancelled", "drained": "was drained"}


def warn_of_version_mismatch() -> None:
    """Warns if Python or Beam differ between this environment and the worker image.

    A worker unpickles what the submitting process pickled: both need the same Python and the same
    Beam.
    """
    python, beam = f"{sys.version_info[0]}.{sys.version_info[1]}", metadata.version("apache-beam")
    if (python, beam) != (IMAGE_PYTHON, IMAGE_BEAM):
        _LOG.warning(
            "This environment has Python %s with Beam %s, the image of docker/worker.Dockerfile "
            "Python %s with Beam %s; a job needs the same on both sides. Set up with `PYTHON=%s "
            "make setup`, or set cloud.image to an image with these versions.",
            python,
            beam,
            IMAGE_PYTHON,
            IMAGE_BEAM,
            IMAGE_PYTHON,
        )


def options(config: Config) -> dict[str, str | int | bool | list[str]]:
    """Beam pipeline options of a Dataflow job, by name; workers run the image `cloud.image`.

    Raises:
        CloudError: `cloud` or `cloud.dataflow` is not set.
    """
    cloud = resources.cloud_section(config)
    dataflow = cloud.dataflow
    if dataflow is None:
        raise CloudError("cloud.dataflow is not set: set cloud.dataflow={}")
    chosen: dict[str, str | int | bool | list[str]] = {
        "project": cloud.project,
        "region": cloud.region,
        "temp_location": f"{resources.home(config)}/tmp",
        "staging_location": f"{resources.home(config)}/staging",
        "service_account_email": cloud.service_account,
        "sdk_container_image": cloud.image,
        "sdk_location": "container",
        "experiments": ["use_runner_v2"],
        "machine_type": dataflow.machine_type,
        "max_num_workers": dataflow.max_workers,
        "disk_size_gb": dataflow.disk_gb,
        "dataflow_service_options": [
            f"max_workflow_runtime_walltime_seconds={resources.seconds(dataflow.timeout_h)}"
        ],
        "labels": [f"{key}={value}" for key, value in resources.labels(config).items()],
    }
    if dataflow.endpoint:
        chosen["dataflow_endpoint"] = dataflow.endpoint
    if cloud.subnetwork:
        chosen |= {"subnetwork": cloud.subnetwork, "use_public_ips": False}
    return chosen


def client(config: Config) -> DataflowApplicationClient:
    """Beam's Dataflow client."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.dataflow.internal import apiclient

    return apiclient.DataflowApplicationClient(PipelineOptions(flags=[], **options(config)))


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Turns errors of Beam's Dataflow client into CloudError.

    Raises:
        CloudError: the job failed, or the service refused the request.
        NoAnswerError: the service did not answer.
    """
    try:
        yield
    except Exception as error:
        if (translated := translate_error(error)) is error:
            raise
        raise translated from error


def translate_error(error: Exception) -> Exception:
    """A CloudError for an error of Beam's Dataflow client; any other error unchanged."""
    kind, module = type(error).__name__, type(error).__module__
    status = getattr(error, "status_code", None)
    translated: CloudError
    if kind == "DataflowRuntimeException":
        translated = _job_error(error)
    elif kind == "DataflowJobAlreadyExistsError":
        translated = CloudError(f"{error} {_SAME_NAME}")
    elif module.startswith("apitools.") and status is not None:
        translated = _request_error(status, _message(getattr(error, "content", "")))
    elif module.startswith("google.auth."):
        translated = CloudError(f"Dataflow: {_line(error)}. {advice(401)}")
    elif module.startswith(_TRANSPORT) or isinstance(error, ConnectionError | TimeoutError):
        translated = _no_answer_error(error)
    else:
        return error
    translated.__cause__ = error
    return translated


def describe_failure(job_id: str, state: str, log: str, page: str) -> str:
    """Why a job did not complete.

    Args:
        job_id: id at Dataflow.
        state: such as `FAILED` or `JOB_STATE_CANCELLED`.
        log: the error in the job's log, with its traceback; may be empty.
        page: the job's page in Google's console.
    """
    state = state.removeprefix("JOB_STATE_").lower()
    if state in ("cancelled", "drained"):
        why = "The run stops here; the same command resumes from the last completed step."
    elif found := _OWN_MODULE.search(log):
        why = _MISSING_CODE.format(module=found[1])
    elif lines := [line for line in log.strip().splitlines() if line.strip()]:
        why = f"Worker error: {_exception_line(lines)}"
    else:
        why = "The service gave no reason."
    return f"Dataflow job {job_id} {_VERBS.get(state, f'ended as {state}')}. {why}\n  job {page}"


def _job_error(error: Any) -> CloudError:
    """The error for Beam's DataflowRuntimeException."""
    from data.conversion.beam_options import dataflow_url

    job = error.result._job
    page = dataflow_url(job.id, job.projectId, job.location)
    _, _, log = str(error).partition("Error:\n")
    log = "" if log == "None" else log  # the client stopped polling before there was a message
    return CloudError(describe_failure(job.id, str(job.currentState), log, page))


def _request_error(status: int, message: str) -> CloudError:
    text = f"Dataflow refused the request ({status}): {message}".rstrip(".")
    return CloudError(f"{text}. {_SAME_NAME if status == 409 else advice(status)}".rstrip())


def _no_answer_error(error: Exception) -> NoAnswerError:
    return NoAnswerError(
        f"no answer from Google Cloud: {_line(error)}. A job that was started continues: check "
        "https://console.cloud.google.com/dataflow/jobs before running the command again."
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _message(content: bytes | str) -> str:
    """The message in the body of an HTTP error."""
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(str(content).split())[:500]


def _exception_line(lines: list[str]) -> str:
    """The exception at the end of a traceback, without the position that Beam appends."""
    kept = [line for line in lines if not line.startswith((" ", "["))]
    return (kept or lines)[-1].strip()[:500]
