"""Connection limits that uvicorn lacks: header size, request timeout, number of connections."""

import asyncio
import dataclasses
import http
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_LAST_S = 2.0
"""Seconds to receive the rest of a request at shutdown, or to send an error reply."""


@dataclasses.dataclass
class Limits:
    """Limits and state shared by the connections of one server.

    Attributes:
        header: Largest request header in bytes.
        timeout: Seconds for a request to arrive, and between two requests.
        connections: Largest number of open connections; one more closes the longest idle one.
        idle: Connections without a complete request, oldest first.
    """

    header: int
    timeout: float
    connections: int
    idle: "dict[Connection, None]" = dataclasses.field(default_factory=dict)


class Connection(HttpToolsProtocol):
    """Uvicorn's HTTP connection, with limits on the header and on the time to receive a request.

    Args:
        limits: Limits of the server.
        args: Passed to uvicorn's class.
        kwargs: Passed to uvicorn's class.
    """

    def __init__(self, limits: Limits, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._in_header = False
        self._header_size = 0  # bytes after the first part of a header sent in parts
        self._rejected = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()
        if len(self.connections) > self._limits.connections:
            next(iter(self._limits.idle))._close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._rejected:
            return
        before = self.headers if self._in_header else None
        super().data_received(data)
        if self._in_header and self.headers is before:  # each request has its own list
            self._header_size += len(data)
            if self._header_size > self._limits.header:
                self._reject_header()

    def send_400_response(self, msg: str) -> None:
        if not self._rejected:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_header, self._header_size = True, 0
        self._start_timer()

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.header:
            self._reject_header()
            raise ValueError  # stops the parser
        self._in_header = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._is_answering():
            self._stop_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._start_timer()

    def shutdown(self) -> None:
        super().shutdown()
        if self._timer:
            self._start_timer(_LAST_S)

    def _is_answering(self) -> bool:
        """Returns whether a complete request waits for its reply."""
        cycle = self.cycle
        if self.pipeline:
            return True
        return bool(cycle and not cycle.more_body and not cycle.response_complete)

    def _start_timer(self, seconds: float | None = None) -> None:
        """Starts the timeout, unless the client waits for a reply."""
        if self._is_answering() or self.transport.is_closing():
            return
        self._stop_timer()
        self._limits.idle[self] = None
        self._timer = self.loop.call_later(seconds or self._limits.timeout, self._on_timeout)

    def _stop_timer(self) -> None:
        self._limits.idle.pop(self, None)
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        if self.flow.read_paused:  # received data is still unread: not the client's delay
            self._start_timer()
        else:
            self._reject(408, "the request took too long to arrive")

    def _reject_header(self) -> None:
        self._reject(431, f"the header is larger than the limit of {self._limits.header} bytes")

    def _reject(self, status: int, message: str) -> None:
        """Replies to an incomplete request with an error and closes the connection.

        The connection closes after a delay: a client that is still sending would get a broken pipe
        instead of the reply.
        """
        unanswered = self.cycle and self.cycle.more_body and not self.cycle.response_started
        begun = self._in_header or unanswered
        if self._rejected or self._is_answering() or self.transport.is_closing() or not begun:
            self._close()
            return
        content = json.dumps({"error": message}).encode()
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self._rejected = True
        self.transport.write(head.encode() + content)
        self.transport.write_eof()
        self._start_timer(_LAST_S)

    def _close(self) -> None:
        self._stop_timer()
        self.transport.close()
