"""gRPC before the Vertex stand-ins: Google's client passes each call on to their REST interface."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent import futures

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1 as vertex
from google.longrunning import operations_pb2
from requests import ConnectionError as NoAnswer

from tests.standins.certificates import Certificates
from tests.standins.http_service import HttpService
from tests.standins.vertex_prediction import VertexPredictionStandIn
from tests.standins.vertex_service import VertexStandIn

_CODES = {
    400: grpc.StatusCode.FAILED_PRECONDITION,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}


class VertexGrpcStandIn(grpc.GenericRpcHandler):
    """The server; use it as a context manager.

    Args:
        service: Models, endpoints and predictions.
        pipelines: Pipeline jobs.
        beside: Handlers of further services.
        address: Where it listens.
        certificates: None leaves TLS out.

    Attributes:
        address: Where it listens, once entered.
        called: Every method that was called, e.g. `UploadModel`.
    """

    def __init__(
        self,
        service: VertexPredictionStandIn,
        pipelines: VertexStandIn | None = None,
        beside: Sequence[grpc.GenericRpcHandler] = (),
        address: str = "127.0.0.1:0",
        certificates: Certificates | None = None,
    ):
        self._handlers = (*beside, self)
        self._certificates = certificates
        self.address = address
        self._clients = {
            "ModelService": vertex.ModelServiceClient(**_by_rest(service)),
            "EndpointService": vertex.EndpointServiceClient(**_by_rest(service)),
            "PredictionService": vertex.PredictionServiceClient(**_by_rest(service)),
        }
        if pipelines:
            self._clients["PipelineService"] = vertex.PipelineServiceClient(**_by_rest(pipelines))
        self.called: list[str] = []

    def __enter__(self):
        self._server = grpc.server(futures.ThreadPoolExecutor(8), handlers=self._handlers)
        if self._certificates:
            files = self._certificates.key, self._certificates.server
            login = grpc.ssl_server_credentials([tuple(path.read_bytes() for path in files)])
            port = self._server.add_secure_port(self.address, login)
        else:
            port = self._server.add_insecure_port(self.address)
        self.address = f"{self.address.rpartition(':')[0]}:{port}"
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop(None)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        service, method = details.method.rpartition(".")[2].split("/")
        self.called.append(method)
        transport = self._clients.get(service, self._clients["ModelService"]).transport
        call = getattr(transport, re.sub(r"(?<=[a-z])([A-Z])", r"_\1", method).lower())
        kinds = operations_pb2 if service == "Operations" else vertex
        kind = getattr(kinds, f"{method}Request")
        parse = kind.deserialize if kinds is vertex else kind.FromString

        def answer(request, context: grpc.ServicerContext):
            try:
                return call(request)
            except GoogleAPICallError as wrong:
                context.abort(_CODES[int(wrong.code)], wrong.message)
            except NoAnswer as lost:
                context.abort(grpc.StatusCode.UNAVAILABLE, str(lost))

        return grpc.unary_unary_rpc_method_handler(answer, parse, _serialised)


def _by_rest(service: HttpService) -> dict:
    """What makes a client of Google's one of this service."""
    return {
        "client_options": {"api_endpoint": service.url},
        "transport": "rest",
        "credentials": AnonymousCredentials(),
    }


def _serialised(message) -> bytes:
    if hasattr(message, "SerializeToString"):
        return message.SerializeToString()
    return type(message).serialize(message)
