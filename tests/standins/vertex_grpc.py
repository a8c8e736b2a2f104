"""gRPC before the Vertex stand-in: Google's client passes each call on to its REST interface."""

from __future__ import annotations

import re
from concurrent import futures

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1 as vertex
from google.longrunning import operations_pb2
from requests import ConnectionError as NoAnswer

from tests.standins.vertex_prediction import VertexPredictionStandIn

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

    Attributes:
        address: Where it listens, once entered; without TLS.
        called: Every method that was called, e.g. `UploadModel`.
    """

    def __init__(self, service: VertexPredictionStandIn):
        at = {"client_options": {"api_endpoint": service.url}, "transport": "rest"}
        at["credentials"] = AnonymousCredentials()
        self._clients = {
            "ModelService": vertex.ModelServiceClient(**at),
            "EndpointService": vertex.EndpointServiceClient(**at),
        }
        self.called: list[str] = []

    def __enter__(self):
        self._server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
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


def _serialised(message) -> bytes:
    if hasattr(message, "SerializeToString"):
        return message.SerializeToString()
    return type(message).serialize(message)
