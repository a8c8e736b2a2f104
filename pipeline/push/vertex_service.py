"""The calls that a push makes to Vertex AI, through Google's client.

Calls that change nothing, or the same twice, are retried as they are. Those that make something are
made again only after a look at what there is: an answer that was lost makes nothing twice.
"""

import time
import warnings
from collections.abc import Callable
from concurrent.futures import TimeoutError as WaitedTooLong

from google.api_core import exceptions, retry
from google.api_core.future.polling import DEFAULT_POLLING
from google.auth.exceptions import GoogleAuthError
from requests import exceptions as transport

from pipeline.config.push import VertexConfig
from pipeline.push.google_errors import not_ended, not_logged_in, refused
from pipeline.push.target import PushError
from pipeline.push.vertex_history import since

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Python's version
    from google.cloud import aiplatform_v1 as vertex

IDENTITY = "pawprint_push"
"""Label of a version: what it was made of."""
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
    """One registered model and one endpoint, as the options name them."""

    def __init__(self, options: VertexConfig):
        """Logs in; all calls together have `options.timeout_s`."""
        self._options = options
        self._deadline = time.monotonic() + options.timeout_s
        at = options.api_endpoint or f"https://{options.region}-aiplatform.googleapis.com"
        plain = at.startswith("http://")  # gRPC would want TLS
        given = {
            "client_options": {"api_endpoint": at if plain else at.removeprefix("https://")},
            "transport": "rest" if plain else "grpc",
        }
        try:
            self._models = vertex.ModelServiceClient(**given)
            self._endpoints = vertex.EndpointServiceClient(**given)
        except GoogleAuthError as error:
            raise not_logged_in(error) from None
        self.location = f"projects/{options.project}/locations/{options.region}"
        self.model = f"{self.location}/models/{options.model}"

    def versions(self) -> list[vertex.Model]:
        """The registered model's versions as they went out, see `since`; none if it is missing."""
        request = vertex.ListModelVersionsRequest(name=self.model)
        doing = f"listing the versions of {self.model}"
        found = self._again(doing, lambda **k: list(self._models.list_model_versions(request, **k)))
        return sorted(found or (), key=since)

    def upload(self, model: vertex.Model, find: Callable[[], vertex.Model | None]) -> vertex.Model:
        """Registers a version; `find` says whether there is one of its identity."""
        request = vertex.UploadModelRequest(parent=self.location, model=model)
        if self.versions():
            request.parent_model = self.model
            request.model.version_aliases = []
        else:
            request.model_id = self._options.model
        doing = f"uploading a version of {self.model}"
        return self._make(doing, self._models.upload_model, request, find, self.model)

    def mark(self, version: vertex.Model, label: str, value: str):
        """Sets a label of a version, or takes it away where the value is empty."""
        labels = {k: v for k, v in version.labels.items() if k != label}
        labels |= {label: value} if value else {}
        changed = vertex.Model(name=f"{self.model}@{version.version_id}", labels=labels)
        request = vertex.UpdateModelRequest(model=changed, update_mask={"paths": ["labels"]})
        doing = f"marking version {version.version_id} of {self.model}"
        self._again(doing, lambda **k: self._models.update_model(request, **k))
        version.labels = labels

    def make_default(self, version_id: str):
        """Gives a version the alias `default`, which batch predictions use.

        Raises:
            PushError: there is no such version.
        """
        request = vertex.MergeVersionAliasesRequest(
            name=f"{self.model}@{version_id}", version_aliases=["default"]
        )
        doing = f"making version {version_id} the default of {self.model}"
        if not self._again(doing, lambda **k: self._models.merge_version_aliases(request, **k)):
            raise PushError(f"{doing}: it is not there")

    def delete(self, version_id: str):
        """Deletes a version, which may be gone already."""
        request = vertex.DeleteModelVersionRequest(name=f"{self.model}@{version_id}")
        doing = f"deleting version {version_id} of {self.model}"
        operation = self._again(doing, lambda **k: self._models.delete_model_version(request, **k))
        if operation:
            self._wait(doing, operation)

    def endpoint(self) -> vertex.Endpoint | None:
        """The endpoint by its name, or by its label; None if it was not created yet.

        Raises:
            PushError: the one named does not exist, or the label is on several.
        """
        if named := self._options.endpoint:
            name = named if "/" in named else f"{self.location}/endpoints/{named}"
            get = self._endpoints.get_endpoint
            found = self._again(f"looking for {name}", lambda **k: get(name=name, **k))
            if found is None:
                raise PushError(
                    f"there is no endpoint {name}; create it, or leave push.vertex.endpoint empty"
                )
            return found
        request = vertex.ListEndpointsRequest(
            parent=self.location, filter=f'labels.{ENDPOINT_OF}="{self._options.model}"'
        )
        doing = f"listing the endpoints of {self.location}"
        found = self._again(doing, lambda **k: list(self._endpoints.list_endpoints(request, **k)))
        if found and len(found) > 1:
            names = ", ".join(endpoint.name for endpoint in found)
            raise PushError(
                f"{len(found)} endpoints have the label {ENDPOINT_OF}={self._options.model}: "
                f"{names}; name the right one as push.vertex.endpoint"
            )
        return found[0] if found else None

    def create_endpoint(self) -> vertex.Endpoint:
        """Creates the endpoint under the id of the model."""
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
        return self._make(f"creating the endpoint {name}", create, request, self.endpoint, name)

    def deploy(self, endpoint: str, version_id: str, split: dict[str, int]) -> vertex.Endpoint:
        """Puts a version on machines; in the split the new one is `0`."""
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

        def find():
            found = self.endpoint()
            return found if found and self.deployed_id(found, version_id) else None

        doing = f"deploying version {version_id} to {endpoint}"
        return self._make(doing, self._endpoints.deploy_model, request, find, endpoint)

    def set_traffic(self, endpoint: str, split: dict[str, int]):
        """Shares the requests among deployed models; percent by their ids, 100 in all."""
        changed = vertex.Endpoint(name=endpoint, traffic_split=split)
        request = vertex.UpdateEndpointRequest(
            endpoint=changed, update_mask={"paths": ["traffic_split"]}
        )
        doing = f"sharing the traffic of {endpoint}"
        self._again(doing, lambda **k: self._endpoints.update_endpoint(request, **k))

    def undeploy(self, endpoint: str, deployed_id: str):
        """Frees the machines of a deployed model without traffic; it may be gone already."""
        request = vertex.UndeployModelRequest(endpoint=endpoint, deployed_model_id=deployed_id)
        doing = f"undeploying {deployed_id} from {endpoint}"
        operation = self._again(doing, lambda **k: self._endpoints.undeploy_model(request, **k))
        if operation:
            self._wait(doing, operation)

    def deployed_id(self, endpoint: vertex.Endpoint, version_id: str) -> str | None:
        """The id under which a version is deployed."""
        for deployed in endpoint.deployed_models:
            # The service answers with the project's number: only the last part can be compared.
            model = deployed.model.rpartition("/")[2].partition("@")[0]
            if model == self._options.model and deployed.model_version_id == version_id:
                return deployed.id
        return None

    @property
    def encryption(self) -> vertex.EncryptionSpec | None:
        """The customer's own key, if there is one."""
        key = self._options.kms_key
        return vertex.EncryptionSpec(kms_key_name=key) if key else None

    def _again(self, doing: str, call):
        """Calls until it is answered; None where the service knows no such resource."""
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
            raise _explained(doing, error.cause) from error
        except (exceptions.GoogleAPICallError, GoogleAuthError, OSError) as error:
            raise _explained(doing, error) from error

    def _make(self, doing: str, call, request, find, resource: str):
        """Makes something once, whatever gets lost on the way; returns what `find` finds then."""
        for attempt in range(ATTEMPTS):
            try:
                self._wait(doing, call(request=request, retry=None, timeout=60))
            except (*_TRANSIENT, exceptions.Conflict) as error:
                if attempt == ATTEMPTS - 1:
                    raise _explained(doing, error) from error
                self._pause(doing, BACKOFF_S * 2**attempt, resource)
                self._settle(doing, resource)
            except (exceptions.GoogleAPICallError, GoogleAuthError, OSError) as error:
                raise _explained(doing, error) from error
            if (found := find()) is not None:
                return found
        raise PushError(f"{doing} ended, and it is not there")

    def _settle(self, doing: str, resource: str):
        """Waits for the operations on a resource that go on unseen, e.g. after a lost answer."""
        client = self._endpoints if "/endpoints/" in resource else self._models
        while True:
            listed = self._again(doing, lambda **k: client.list_operations({"name": resource}, **k))
            if not listed or all(operation.done for operation in listed.operations):
                return
            self._pause(doing, POLL_S, resource)

    def _wait(self, doing: str, operation):
        """Waits for an operation, and raises what it failed with."""
        left = max(0.0, self._deadline - time.monotonic())
        policy = retry.Retry(
            predicate=retry.if_exception_type(*_TRANSIENT), initial=BACKOFF_S / 2, timeout=left
        )
        try:
            polling = DEFAULT_POLLING.with_delay(initial=POLL_S)
            operation.result(timeout=left, retry=policy, polling=polling)
        except (WaitedTooLong, exceptions.RetryError):
            name = operation.operation.name
            raise not_ended(doing, self._options.timeout_s, name) from None
        except exceptions.GoogleAPICallError as error:
            raise PushError(f"{doing} failed: {error.message}") from error
        except (GoogleAuthError, OSError) as error:
            raise _explained(doing, error) from error

    def _pause(self, doing: str, seconds: float, resource: str):
        if time.monotonic() + seconds > self._deadline:
            raise not_ended(doing, self._options.timeout_s, f"an operation on {resource}")
        time.sleep(seconds)


def _explained(doing: str, error: Exception) -> PushError:
    if isinstance(error, GoogleAuthError):
        return not_logged_in(error)
    said = getattr(error, "message", "") or str(error) or type(error).__name__
    return refused(doing, getattr(error, "code", None) or 0, said)
