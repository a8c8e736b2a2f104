"""TFX's AI Platform runner with its faults worked around; here and nowhere else.

- It waits for operations without end, and 30 seconds between two looks.
- It retries nothing: an answer lost on the way fails a push that succeeded.
- It fills in a runtime version that the service does not have.
- It takes a version that exists for one that serves, and makes it the default.
- What it returns as the destination names the project twice.
- Deleting a version that is gone raises.
"""

import random
import time

from google.api_core.client_options import ClientOptions
from google.auth.exceptions import GoogleAuthError
from googleapiclient import discovery, errors, http
from httplib2 import HttpLib2Error

from pipeline.config.push import AiPlatformConfig
from pipeline.push.google_errors import not_ended, not_logged_in, refused
from pipeline.push.target import PushError

NO_ANSWER = (OSError, HttpLib2Error)
RETRIES = 4
POLL_S = 5.0
BACKOFF_S = 1.0


def service(options: AiPlatformConfig, deadline: float) -> discovery.Resource:
    """The `ml` v1 client at the regional endpoint.

    Every request is retried while the fault may pass, and none begins after the deadline.

    Args:
        deadline: of `time.monotonic()`.

    Raises:
        PushError: no credentials, or the service cannot be reached.
    """

    class BoundedRequest(http.HttpRequest):
        def execute(self, http=None, num_retries=RETRIES):
            if time.monotonic() > deadline:
                raise not_ended(f"{self.method} {self.uri}", options.timeout_s, self.uri)
            self._sleep = lambda seconds: time.sleep(
                min(seconds * BACKOFF_S, max(0.0, deadline - time.monotonic()))
            )
            self._rand = lambda: random.uniform(0.5, 1)
            return super().execute(http=http, num_retries=num_retries)

    endpoint = options.api_endpoint or f"https://{options.region}-ml.googleapis.com"
    described = {}
    if options.api_endpoint:
        described["discoveryServiceUrl"] = f"{endpoint}/$discovery/rest?version={{apiVersion}}"
    try:
        return discovery.build(
            "ml",
            "v1",
            requestBuilder=BoundedRequest,
            client_options=ClientOptions(api_endpoint=endpoint),
            cache_discovery=False,
            **described,
        )
    except GoogleAuthError as error:
        raise not_logged_in(error) from None
    except errors.HttpError as error:
        raise http_refused(f"asking {endpoint} for its methods", error) from None
    except (*NO_ANSWER, errors.Error) as error:
        raise refused(f"reaching {endpoint}", 0, str(error)) from None


def create_model(api: discovery.Resource, options: AiPlatformConfig):
    """Creates the model if it is missing."""
    runner = _runner()
    _translated(
        f"creating the model {options.model}",
        runner.create_model_for_aip_prediction_if_not_exist,
        labels=dict(options.labels),
        ai_platform_serving_args={"model_name": options.model, "project_id": options.project},
        api=api,
    )


def create_version(api: discovery.Resource, options: AiPlatformConfig, name: str, address: str):
    """Creates a version and waits for it; returns also where it exists already, in any state."""
    runner = _runner()
    settings = {
        "model_name": options.model,
        "project_id": options.project,
        "runtime_version": options.runtime_version,
        "python_version": options.python_version,
        "framework": options.framework,
        "machine_type": options.machine_type,
        "auto_scaling": {"minNodes": options.min_nodes},
    }
    _translated(
        f"creating the version {name} of {options.model}",
        runner.deploy_model_for_aip_prediction,
        serving_path=address,
        model_version_name=name,
        ai_platform_serving_args=settings,
        labels=dict(options.labels),
        api=api,
        skip_model_endpoint_creation=True,
        set_default=False,
    )


def delete_version(api: discovery.Resource, options: AiPlatformConfig, name: str):
    """Deletes a version, which may be gone already."""
    runner = _runner()
    try:
        _translated(
            f"deleting the version {name} of {options.model}",
            runner.delete_model_from_aip_if_exists,
            ai_platform_serving_args={"model_name": options.model, "project_id": options.project},
            api=api,
            model_version_name=name,
        )
    except PushError as error:
        if getattr(error.__cause__, "status", None) != 404:
            raise


def http_refused(doing: str, error: errors.HttpError) -> PushError:
    """The error for an answer of the `ml` service."""
    failure = refused(doing, error.resp.status, error._get_reason().strip())
    error.status = error.resp.status
    failure.__cause__ = error
    return failure


def _runner():
    # Imports TensorFlow: status, promote and rollback do without.
    from tfx.extensions.google_cloud_ai_platform import prediction_clients, runner

    prediction_clients._POLLING_INTERVAL_IN_SECONDS = POLL_S
    return runner


def _translated(doing: str, call, **arguments):
    try:
        return call(**arguments)
    except errors.HttpError as error:
        raise http_refused(doing, error) from error
    except RuntimeError as error:  # TFX hides what happened in its own
        if isinstance(error, PushError):
            raise
        hidden = error.__cause__ or error.__context__
        if isinstance(hidden, errors.HttpError):
            raise http_refused(doing, hidden) from hidden
        raise PushError(f"{doing} failed: {error}") from error
    except GoogleAuthError as error:
        raise not_logged_in(error) from error
    except NO_ANSWER as error:
        raise refused(doing, 0, str(error) or type(error).__name__) from error
