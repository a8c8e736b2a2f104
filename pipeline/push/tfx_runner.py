"""The AI Platform runner of TFX, with workarounds for its faults:

- It waits for operations without a time limit, and polls every 30 seconds.
- It retries nothing: a lost answer fails a push that succeeded.
- It fills in a runtime version that the service does not have.
- It takes any version that exists for a ready one, and makes it the default.
- The destination that it returns names the project twice.
- Deleting a version that does not exist raises.
"""

import random
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from google.api_core.client_options import ClientOptions
from google.auth.exceptions import GoogleAuthError
from googleapiclient import discovery, errors, http
from httplib2 import HttpLib2Error

from pipeline.config.push import AiPlatformConfig
from pipeline.push.google_errors import credentials_error, request_error, timeout_error
from pipeline.push.target import PushError

TRANSPORT_ERRORS = (OSError, HttpLib2Error)
RETRIES = 4
POLL_S = 5.0
BACKOFF_S = 1.0


def connect(options: AiPlatformConfig, deadline: float) -> discovery.Resource:
    """The `ml` v1 client at the regional endpoint.

    Retries every request that failed for a transient reason; sends none after the deadline.

    Args:
        options: the config's section `push.ai_platform`.
        deadline: a time of `time.monotonic()`.

    Raises:
        PushError: there are no credentials, or the service does not answer.
    """

    class BoundedRequest(http.HttpRequest):
        def execute(self, http: Any = None, num_retries: int = RETRIES) -> Any:
            if time.monotonic() > deadline:
                raise timeout_error(f"{self.method} {self.uri}", options.timeout_s, self.uri)
            self._sleep = lambda seconds: time.sleep(
                min(seconds * BACKOFF_S, max(0.0, deadline - time.monotonic()))
            )
            self._rand = lambda: random.uniform(0.5, 1)
            return super().execute(http=http, num_retries=num_retries)

    endpoint = options.api_endpoint or f"https://{options.region}-ml.googleapis.com"
    discovery_url = {}
    if options.api_endpoint:
        discovery_url["discoveryServiceUrl"] = f"{endpoint}/$discovery/rest?version={{apiVersion}}"
    try:
        return discovery.build(
            "ml",
            "v1",
            requestBuilder=BoundedRequest,
            client_options=ClientOptions(api_endpoint=endpoint),
            cache_discovery=False,
            **discovery_url,
        )
    except GoogleAuthError as error:
        raise credentials_error(error) from None
    except errors.HttpError as error:
        raise http_error(f"reading the methods of {endpoint}", error) from None
    except (*TRANSPORT_ERRORS, errors.Error) as error:
        raise request_error(f"connecting to {endpoint}", 0, str(error)) from None


def create_model(api: discovery.Resource, options: AiPlatformConfig) -> None:
    """Creates the model; a no-op if it exists."""
    runner = _import_runner()
    _call(
        f"creating the model {options.model}",
        runner.create_model_for_aip_prediction_if_not_exist,
        labels=dict(options.labels),
        ai_platform_serving_args={"model_name": options.model, "project_id": options.project},
        api=api,
    )


def create_version(
    api: discovery.Resource, options: AiPlatformConfig, name: str, address: str
) -> None:
    """Creates a version and waits for it; returns at once if it exists, in any state.

    Args:
        api: the client.
        options: the config's section `push.ai_platform`.
        name: name of the version.
        address: `gs://` address of the SavedModel.
    """
    runner = _import_runner()
    settings = {
        "model_name": options.model,
        "project_id": options.project,
        "runtime_version": options.runtime_version,
        "python_version": options.python_version,
        "framework": options.framework,
        "machine_type": options.machine_type,
        "auto_scaling": {"minNodes": options.min_nodes},
    }
    _call(
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


def delete_version(api: discovery.Resource, options: AiPlatformConfig, name: str) -> None:
    """Deletes a version; a no-op if it does not exist."""
    runner = _import_runner()
    try:
        _call(
            f"deleting the version {name} of {options.model}",
            runner.delete_model_from_aip_if_exists,
            ai_platform_serving_args={"model_name": options.model, "project_id": options.project},
            api=api,
            model_version_name=name,
        )
    except PushError as error:
        cause = error.__cause__
        if not isinstance(cause, errors.HttpError) or cause.resp.status != 404:
            raise


def http_error(doing: str, error: errors.HttpError) -> PushError:
    """The error for an HTTP error of the `ml` service."""
    return request_error(doing, error.resp.status, error._get_reason().strip())


def _import_runner() -> ModuleType:
    # Imports TensorFlow, which status, promote and rollback do not need.
    from tfx.extensions.google_cloud_ai_platform import prediction_clients, runner

    prediction_clients._POLLING_INTERVAL_IN_SECONDS = POLL_S
    return runner


def _call(doing: str, function: Callable[..., Any], **arguments: Any) -> None:
    """Calls a function of the runner; raises PushError if it fails."""
    try:
        function(**arguments)
    except errors.HttpError as error:
        raise http_error(doing, error) from error
    except RuntimeError as error:  # TFX wraps the client's errors
        if isinstance(error, PushError):
            raise
        wrapped = error.__cause__ or error.__context__
        if isinstance(wrapped, errors.HttpError):
            raise http_error(doing, wrapped) from wrapped
        raise PushError(f"{doing} failed: {error}") from error
    except GoogleAuthError as error:
        raise credentials_error(error) from error
    except TRANSPORT_ERRORS as error:
        raise request_error(doing, 0, str(error) or type(error).__name__) from error
