"""The calls of Google's client that a push to Vertex AI makes.

Idempotent calls are retried as they are. A call that creates something is repeated only if the
resource does not exist by then, so that a lost answer never creates it twice.
"""

import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from google.api_core import exceptions, retry
from google.api_core.future.polling import DEFAULT_POLLING
from google.api_core.operation import Operation
from google.auth.exceptions import GoogleAuthError
from requests import exceptions as transport

from pipeline.config.push import VertexConfig
from pipeline.push.google_errors import credentials_error, request_error, timeout_error
from pipeline.push.target import PushError
from pipeline.push.vertex_history import push_order

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the Python version
    from google.cloud import aiplatform_v1 as vertex

IDENTITY = "pawprint_push"
"""Label of a version: digest of its model and settings."""
ENDPOINT_OF = "pawprint_model"
"""Label of an endpoint: the model that it serves."""
ATTEMPTS = 5
BACKOFF_S = 2.0
POLL_S = 2.0

_TRANSIENT = (
    exceptions.TooManyRequests,
    exceptions.InternalServerError,
    exceptions.BadGateway,
    exceptions.ServiceUnavailable,
    exceptions.GatewayTimeout,
    transport.ConnectionError,
    transport.Timeout,
    ConnectionError,
)


class VertexService:
    """One registered model and its endpoint.

    Args:
        options: the config's section `push.vertex`; `timeout_s` limits all calls together.

    Raises:
        PushError: there are no credentials.
    """

    def __init__(self, options: VertexConfig):
        self._options = options
        self._deadline = time.monotonic() + options.timeout_s
        address = options.api_endpoint or f"https://{options.region}-aiplatform.googleapis.com"
        insecure = address.startswith("http://")  # gRPC needs TLS
        arguments = {
            "client_options": {
                "api_endpoint": address if insecure else address.removeprefix("https://")
            },
            "transport": "rest" if insecure else "grpc",
        }
        try:
            self._models = vertex.ModelServiceClient(**arguments)
            self._endpoints = vertex.EndpointServiceClient(**arguments)
        except GoogleAuthError as error:
            raise credentials_error(error) from None
        self.location = f"projects/{options.project}/locations/{options.region}"
        self.model = f"{self.location}/models/{options.model}"

    def versions(self) -> list[vertex.Model]:
        """The registered model's versions in their `push_order`; none if it does not exist."""
        request = vertex.ListModelVersionsRequest(name=self.model)
        doing = f"listing the versions of {self.model}"
        found = self._call(doing, lambda **k: list(self._models.list_model_versions(request, **k)))
        return sorted(found or (), key=push_order)

    def upload(self, model: vertex.Model, find: Callable[[], vertex.Model | None]) -> vertex.Model:
        """Registers a version.

        Args:
            model: the version.
            find: returns the version if it exists already.
        """
        request = vertex.UploadModelRequest(parent=self.location, model=model)
        if self.versions():
            request.parent_model = self.model
            request.model.version_aliases = []
        else:
            request.model_id = self._options.model
        doing = f"uploading a version of {self.model}"
        return self._create(doing, self._models.upload_model, request, find, self.model)

    def set_label(self, version: vertex.Model, label: str, value: str) -> None:
        """Sets a label of a version; an empty value removes it."""
        labels = {k: v for k, v in version.labels.items() if k != label}
        labels |= {label: value} if value else {}
        changed = vertex.Model(name=f"{self.model}@{version.version_id}", labels=labels)
        request = vertex.UpdateModelRequest(model=changed, update_mask={"paths": ["labels"]})
        doing = f"labelling version {version.version_id} of {self.model}"
        self._call(doing, lambda **k: self._models.update_model(request, **k))
        version.labels = labels

    def make_default(self, version_id: str) -> None:
        """Gives a version the alias `default`, which batch predictions use.

        Raises:
            PushError: the version does not exist.
        """
        request = vertex.MergeVersionAliasesRequest(
            name=f"{self.model}@{version_id}", version_aliases=["default"]
        )
        doing = f"making version {version_id} the default of {self.model}"
        if not self._call(doing, lambda **k: self._models.merge_version_aliases(request, **k)):
            raise PushError(f"{doing} failed: the version does not exist")

    def delete(self, version_id: str) -> None:
        """Deletes a version; a no-op if it does not exist."""
        request = vertex.DeleteModelVersionRequest(name=f"{self.model}@{version_id}")
        doing = f"deleting version {version_id} of {self.model}"
        operation = self._call(doing, lambda **k: self._models.delete_model_version(request, **k))
        if operation:
            self._wait(doing, operation)

    def endpoint(self) -> vertex.Endpoint | None:
        """The endpoint that the options name, else the one with the label of this model.

        Returns:
            The endpoint; None if it has not been created yet.

        Raises:
            PushError: the named endpoint does not exist, or several have the label.
        """
        if named := self._options.endpoint:
            name = named if "/" in named else f"{self.location}/endpoints/{named}"
            get = self._endpoints.get_endpoint
            found = self._call(f"looking for {name}", lambda **k: get(name=name, **k))
            if found is None:
                raise PushError(
                    f"there is no endpoint {name}; create it, or leave push.vertex.endpoint empty"
                )
            return found
        request = vertex.ListEndpointsRequest(
            parent=self.location, filter=f'labels.{ENDPOINT_OF}="{self._options.model}"'
        )
        doing = f"listing the endpoints of {self.location}"
        found = self._call(doing, lambda **k: list(self._endpoints.list_endpoints(request, **k)))
        if found and len(found) > 1:
            names = ", ".join(endpoint.name for endpoint in found)
            raise PushError(
                f"{len(found)} endpoints have the label {ENDPOINT_OF}={self._options.model}: "
                f"{names}; set push.vertex.endpoint to the right one"
            )
        return found[0] if found else None

    def create_endpoint(self) -> vertex.Endpoint:
        """Creates the endpoint; its id is that of the model."""
        endpoint = vertex.Endpoint(
            display_name=self._options.model,
            labels=self._options.labels | {ENDPOINT_OF: self._options.model},
            encryption_spec=self.encryption,
        )
        request = vertex.CreateEndpointRequest(
            parent=self.location, endpoint=endpoint, endpoint_id=self._options.model
        )
        name = f"{self.location}/endpoints/{self._options.model}"
        create = self._endpoints.create_endpoint
        return self._create(f"creating the endpoint {name}", create, request, self.endpoint, name)

    def deploy(self, endpoint: str, version_id: str, split: Mapping[str, int]) -> vertex.Endpoint:
        """Deploys a version.

        Args:
            endpoint: resource name.
            version_id: number of the version.
            split: percent by deployed model id, 100 in all; `0` is the id of the new one.
        """
        options = self._options
        deployed = vertex.DeployedModel(
            model=f"{self.model}@{version_id}",
            display_name=f"{options.model}-{version_id}",
            dedicated_resources=vertex.DedicatedResources(
                machine_spec=vertex.MachineSpec(machine_type=options.machine_type),
                min_replica_count=options.min_replicas,
                max_replica_count=options.max_replicas,
            ),
            service_account=options.service_account or "",
        )
        request = vertex.DeployModelRequest(
            endpoint=endpoint, deployed_model=deployed, traffic_split=split
        )

        def find() -> vertex.Endpoint | None:
            found = self.endpoint()
            return found if found and self.deployed_id(found, version_id) else None

        doing = f"deploying version {version_id} to {endpoint}"
        return self._create(doing, self._endpoints.deploy_model, request, find, endpoint)

    def set_traffic(self, endpoint: str, split: Mapping[str, int]) -> None:
        """Splits the traffic: percent by deployed model id, 100 in all."""
        changed = vertex.Endpoint(name=endpoint, traffic_split=split)
        request = vertex.UpdateEndpointRequest(
            endpoint=changed, update_mask={"paths": ["traffic_split"]}
        )
        doing = f"splitting the traffic of {endpoint}"
        self._call(doing, lambda **k: self._endpoints.update_endpoint(request, **k))

    def undeploy(self, endpoint: str, deployed_id: str) -> None:
        """Undeploys a model that has no traffic; a no-op if it is not deployed."""
        request = vertex.UndeployModelRequest(endpoint=endpoint, deployed_model_id=deployed_id)
        doing = f"undeploying {deployed_id} from {endpoint}"
        operation = self._call(doing, lambda **k: self._endpoints.undeploy_model(request, **k))
        if operation:
            self._wait(doing, operation)

    def deployed_id(self, endpoint: vertex.Endpoint, version_id: str) -> str | None:
        """The id of a version's deployed model; None if it is not deployed."""
        for deployed in endpoint.deployed_models:
            # The service returns the project's number instead of its id: compare the last part.
            model = deployed.model.rpartition("/")[2].partition("@")[0]
            if model == self._options.model and deployed.model_version_id == version_id:
                return str(deployed.id)
        return None

    @property
    def encryption(self) -> vertex.EncryptionSpec | None:
        """The customer-managed key; None without one."""
        key = self._options.kms_key
        return vertex.EncryptionSpec(kms_key_name=key) if key else None

    def _call(self, doing: str, call: Callable[..., Any]) -> Any:
        """Calls with retries; returns None if the service does not know the resource."""
        left = max(1.0, self._deadline - time.monotonic())
        policy = retry.Retry(
            predicate=retry.if_exception_type(*_TRANSIENT),
            initial=BACKOFF_S / 2,
            maximum=BACKOFF_S * 8,
            timeout=min(left, BACKOFF_S * 30),
        )
        try:
            return call(retry=policy, timeout=60)
        except exceptions.NotFound:
            return None
        except exceptions.RetryError as error:
            raise _push_error(doing, error.cause) from error
        except (exceptions.GoogleAPICallError, GoogleAuthError, OSError) as error:
            raise _push_error(doing, error) from error

    def _create(
        self,
        doing: str,
        call: Callable[..., Operation],
        request: Any,
        find: Callable[[], Any],
        resource: str,
    ) -> Any:
        """Creates a resource exactly once, even if answers are lost.

        Args:
            doing: the action, for error messages.
            call: the client's method.
            request: its argument.
            find: returns the created resource, or None.
            resource: name of the resource whose operations are waited for before a retry.

        Returns:
            What `find` returns.
        """
        for attempt in range(ATTEMPTS):
            try:
                self._wait(doing, call(request=request, retry=None, timeout=60))
            except (*_TRANSIENT, exceptions.Conflict) as error:
                if attempt == ATTEMPTS - 1:
                    raise _push_error(doing, error) from error
                self._pause(doing, BACKOFF_S * 2**attempt, resource)
                self._wait_for_operations(doing, resource)
            except (exceptions.GoogleAPICallError, GoogleAuthError, OSError) as error:
                raise _push_error(doing, error) from error
            if (found := find()) is not None:
                return found
        raise PushError(f"{doing} ended, but the resource does not exist")

    def _wait_for_operations(self, doing: str, resource: str) -> None:
        """Waits for all operations on a resource, e.g. one whose answer was lost."""
        client = self._endpoints if "/endpoints/" in resource else self._models
        while True:
            listed = self._call(doing, lambda **k: client.list_operations({"name": resource}, **k))
            if not listed or all(operation.done for operation in listed.operations):
                return
            self._pause(doing, POLL_S, resource)

    def _wait(self, doing: str, operation: Operation) -> None:
        """Waits for an operation; raises PushError if it fails."""
        left = max(0.0, self._deadline - time.monotonic())
        policy = retry.Retry(
            predicate=retry.if_exception_type(*_TRANSIENT), initial=BACKOFF_S / 2, timeout=left
        )
        try:
            polling = DEFAULT_POLLING.with_delay(initial=POLL_S)
            operation.result(timeout=left, retry=policy, polling=polling)
        except (FutureTimeoutError, exceptions.RetryError):
            name = operation.operation.name
            raise timeout_error(doing, self._options.timeout_s, name) from None
        except exceptions.GoogleAPICallError as error:
            raise PushError(f"{doing} failed: {error.message}") from error
        except (GoogleAuthError, OSError) as error:
            raise _push_error(doing, error) from error

    def _pause(self, doing: str, seconds: float, resource: str) -> None:
        if time.monotonic() + seconds > self._deadline:
            raise timeout_error(doing, self._options.timeout_s, f"an operation on {resource}")
        time.sleep(seconds)


def _push_error(doing: str, error: Exception) -> PushError:
    if isinstance(error, GoogleAuthError):
        return credentials_error(error)
    said = getattr(error, "message", "") or str(error) or type(error).__name__
    return request_error(doing, getattr(error, "code", None) or 0, said)
