"""Jobs on Dataflow: their options, the client, and what went wrong with one in words.

Beam's own types are recognised by name: this is asked about every error, and Beam's Dataflow client
takes seconds to import.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from pipeline.cloud import resources
from pipeline.cloud.errors import LOGIN, CloudError, NoAnswerError

if TYPE_CHECKING:
    from pipeline.config.schema import Config

COMPONENTS = ("ImportExampleGen", "StatisticsGen", "Transform", "Evaluator")
"""Components that are one Dataflow job each."""
_LOG = logging.getLogger("pawprint.cloud")

IMAGE_PYTHON, IMAGE_BEAM = "3.12", "2.77.0"
"""What docker/worker.Dockerfile has."""

_OURS = re.compile(r"No module named '(data|models|pipeline)(?:\.[\w.]+)?'")
_CODE = (
    "Its workers do not have this project's code (they found no module {module!r}). Set cloud.image"
    " to an image that has it, see docs/images.md; with Beam's own flags: --sdk_container_image="
    "IMAGE or, for a conversion alone (setup.py asks for neither TensorFlow nor TFX), "
    "--setup_file=PATH/setup.py, which has every worker build the project as it starts."
)
_TRANSPORT = ("apitools.", "httplib2", "http.client", "requests.exceptions", "urllib3.exceptions")


def warn_of_version_mismatch() -> None:
    """Warns when this environment's Python or Beam differs from the worker image's.

    A worker unpickles what the sender pickled: both need the same Python and the same Beam.
    """
    python, beam = f"{sys.version_info[0]}.{sys.version_info[1]}", metadata.version("apache-beam")
    if (python, beam) != (IMAGE_PYTHON, IMAGE_BEAM):
        _LOG.warning(
            "Python %s with Beam %s sends this job; the image of docker/worker.Dockerfile has "
            "Python %s with Beam %s, and a worker needs the same. Set up by `PYTHON=%s make setup` "
            "on a system that has it, or let cloud.image be an image of these versions.",
            python,
            beam,
            IMAGE_PYTHON,
            IMAGE_BEAM,
            IMAGE_PYTHON,
        )


def options(config: Config) -> dict[str, str | int | bool | list[str]]:
    """Beam pipeline options of Dataflow's jobs, by name; the workers run the project's image."""
    cloud, dataflow = config.cloud, config.cloud.dataflow
    chosen = {
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


def client(config: Config):
    """Beam's own client of Dataflow."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.dataflow.internal import apiclient

    return apiclient.DataflowApplicationClient(PipelineOptions(flags=[], **options(config)))


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Raises CloudError in place of what Dataflow's client raises."""
    try:
        yield
    except Exception as error:
        if (told := explained(error)) is error:
            raise
        raise told from error


def explained(error: Exception) -> Exception:
    """A CloudError in place of what Dataflow's client raised; every other error as it is."""
    kind, module = type(error).__name__, type(error).__module__
    if kind == "DataflowRuntimeException":
        made = _ended(error)
    elif kind == "DataflowJobAlreadyExistsError":
        made = CloudError(f"{error} {_BUSY}")
    elif module.startswith("apitools.") and hasattr(error, "status_code"):
        made = _refused(error.status_code, _message(error.content))
    elif module.startswith("google.auth."):
        made = CloudError(f"The credentials are expired or were revoked ({_line(error)}). {LOGIN}")
    elif module.startswith(_TRANSPORT) or isinstance(error, ConnectionError | TimeoutError):
        made = _unanswered(error)
    else:
        return error
    made.__cause__ = error
    return made


def how_it_ended(job_id: str, state: str, said: str, page: str) -> str:
    """Why a job did not reach its end.

    Args:
        job_id: of Dataflow.
        state: such as `FAILED` or `JOB_STATE_CANCELLED`.
        said: the error in the job's log, with its traceback.
        page: of the job in Google's console.
    """
    state = state.removeprefix("JOB_STATE_").lower()
    if state in ("cancelled", "drained"):
        why = "The run stops here; the same command resumes from the last completed step."
    elif found := _OURS.search(said):
        why = _CODE.format(module=found[1])
    elif lines := [line for line in said.strip().splitlines() if line.strip()]:
        why = f"A worker said: {_last_words(lines)}"
    else:
        why = "The service gave no reason."
    return f"Dataflow's job {job_id} {_VERB.get(state, f'ended as {state}')}. {why}\n  job {page}"


_BUSY = "Wait for that job, or cancel it."
_VERB = {"failed": "failed", "cancelled": "was cancelled", "drained": "was drained"}


def _ended(error) -> CloudError:
    from data.conversion.beam_options import dataflow_url

    job = error.result._job
    page = dataflow_url(job.id, job.projectId, job.location)
    _, _, said = str(error).partition("Error:\n")
    said = "" if said == "None" else said  # the client stopped asking before there was a message
    return CloudError(how_it_ended(job.id, str(job.currentState), said, page))


def _refused(status: int, said: str) -> CloudError:
    advice = {
        401: LOGIN,
        403: "The roles that are needed are listed in docs/production.md.",
        404: "Check cloud.project and cloud.region, and that Dataflow's API is enabled.",
        409: _BUSY,
        429: "A quota is used up: lower cloud.dataflow.max_workers, or ask for more.",
    }
    text = f"Dataflow refused the request ({status}): {said}".rstrip(".")
    return CloudError(f"{text}. {advice.get(status, '')}".rstrip())


def _unanswered(error: Exception) -> NoAnswerError:
    return NoAnswerError(
        f"No answer from Google Cloud: {_line(error)}. A job that was started goes on by itself: "
        "look at https://console.cloud.google.com/dataflow/jobs before giving the command again."
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _message(content: bytes | str) -> str:
    """The message in the body of an error."""
    try:
        return json.loads(content)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return " ".join(str(content).split())[:500]


def _last_words(lines: list[str]) -> str:
    """The exception at the end of a traceback, without what Beam says about where it was."""
    kept = [line for line in lines if not line.startswith((" ", "["))]
    return (kept or lines)[-1].strip()[:500]
