"""One HTTPS server that answers for many services, told apart by the name they are called by."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Mapping, Sequence
from http.server import ThreadingHTTPServer

from tests.standins.certificates import Certificates
from tests.standins.http_service import Answer, HttpService, Request, error


class Front(HttpService):
    """Hands each request to a service of its host name: the first that has such a method.

    Args:
        address: IP address to listen on, port 443.
        certificates: Of the server.
        services: Host name to services; may change while this runs.
    """

    def __init__(
        self,
        address: str,
        certificates: Certificates,
        services: Mapping[str, Sequence[HttpService]],
    ):
        super().__init__()
        self._address = address
        self._certificates = certificates
        self._services = services

    def __enter__(self):
        super().__enter__()
        self._https = _HttpsServer(self._address, self._certificates, self._server)
        threading.Thread(target=self._https.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._https.shutdown()
        self._https.server_close()
        super().__exit__()

    def _answer(self, request: Request) -> Answer | None:
        host = request.headers.get("host", "").partition(":")[0]
        services = self._services.get(host, ())
        for service in services:
            for method in service._routes:
                verb, pattern = method.route
                if verb == request.method and pattern.fullmatch(request.path):
                    return service._answer(request)
        self.requests.append(request)  # for whoever wonders what nobody answered
        return error(404, f"No such method: {request.method} {host}{request.path}")


class _HttpsServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, certificates: Certificates, plain: ThreadingHTTPServer):
        super().__init__((address, 443), plain.RequestHandlerClass)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.server, certificates.key)

    def get_request(self):
        connection, address = super().get_request()
        # The handshake is left to the thread of the connection.
        return self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        ), address

    def handle_error(self, request, client_address):
        with contextlib.suppress(OSError):  # clients that go away are none of ours
            raise
