"""A local HTTP server whose routes are methods; base of the stand-ins."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client sent; header names are in lower case, the path is as it was quoted."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        """The body, parsed."""
        return json.loads(self.body)


@dataclass
class Answer:
    """What the service says: JSON for anything but bytes."""

    content: bytes | dict | list
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, message: str) -> Answer:
    """An error in the form that Google's clients understand."""
    return Answer({"error": {"code": status, "message": message}}, status)


def route(method: str, pattern: str):
    """Marks a method as the one that answers; the pattern's groups, unquoted, are its arguments."""

    def mark(function):
        function.route = method, re.compile(pattern)
        return function

    return mark


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that was killed, or a test's own fault, is no news; anything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class HttpService:
    """The server; use it as a context manager.

    Attributes:
        url: Where it listens, once entered.
        requests: Every request in the order of its arrival.
    """

    def __init__(self):
        self.requests: list[Request] = []
        self._failures: list[tuple[Callable[[Request], bool], Answer, list[int]]] = []
        self._losses: list[tuple[Callable[[Request], bool], list[int]]] = []
        found = (getattr(self, name) for name in dir(type(self)) if name != "json")
        self._routes = [method for method in found if hasattr(method, "route")]
        self._routes.sort(key=lambda method: len(method.route[1].pattern), reverse=True)

    def fail(
        self, matches: Callable[[Request], bool], status: int = 503, times: int = 1 << 30
    ) -> None:
        """Answers the next `times` requests that match with an error status."""
        self._failures.append((matches, error(status, "told to fail"), [times]))

    def recover(self) -> None:
        """Fails no more."""
        self._failures.clear()

    def lose(self, matches: Callable[[Request], bool], times: int = 1) -> None:
        """Carries out the next `times` requests that match, and cuts the connection unanswered."""
        self._losses.append((matches, [times]))

    def __enter__(self):
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body leave in two writes: with Nagle's algorithm each answer takes 40 ms.
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def answer(self):
                answer = service._answer(self._request())
                if answer is None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                content = answer.content
                if not isinstance(content, bytes):
                    content = json.dumps(content).encode()
                    answer.headers.setdefault("Content-Type", "application/json; charset=UTF-8")
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer

            def _request(self) -> Request:
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                if headers.get("transfer-encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(headers.get("content-length", 0)))
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                # Some versions of Google's clients escape it, others do not.
                path = parts.path.replace("%40", "@")
                return Request(self.command, path, query, headers, body)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # Leaving waits for the next look of the server at whether it should.
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: Request) -> Answer | None:
        self.requests.append(request)
        answer = self._carry_out(request)
        for matches, left in self._losses:
            if left[0] and matches(request):
                left[0] -= 1
                return None
        return answer

    def _carry_out(self, request: Request) -> Answer:
        for matches, answer, left in self._failures:
            if left[0] and matches(request):
                left[0] -= 1
                return Answer(answer.content, answer.status)
        for method in self._routes:
            verb, pattern = method.route
            if request.method == verb and (match := pattern.fullmatch(request.path)):
                return method(request, *(unquote(group) for group in match.groups()))
        return error(404, f"No such method: {request.method} {request.path}")
