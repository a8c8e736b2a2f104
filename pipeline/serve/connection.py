"""Limits of a connection for which uvicorn has no settings: size of the header, time, number."""

import asyncio
import dataclasses
import http
import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_LAST_S = 2.0  # for a request to arrive in once the server is stopping, and to read a refusal in


@dataclasses.dataclass
class Limits:
    """What the connections of one server share.

    Attributes:
        header: bytes of a request's header.
        patience: seconds until a request has arrived whole, and between two requests.
        connections: open at the same time; one more closes the one that is idle longest.
        idle: connections that owe the server a request or the rest of one, the oldest first.
    """

    header: int
    patience: float
    connections: int
    idle: "dict[Connection, None]" = dataclasses.field(default_factory=dict)


class Connection(HttpToolsProtocol):
    """Uvicorn's connection with time limits: uvicorn has none for a header or a body.

    Args:
        limits: the server's.
        args: uvicorn's, as are `named`.
        named: see `args`.
    """

    def __init__(self, limits: Limits, *args, **named):
        super().__init__(*args, **named)
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._in_header = False
        self._header_size = 0  # of a header that comes in several parts, without the first
        self._refused = False

    def connection_made(self, transport):
        super().connection_made(transport)
        self._start_timer()
        if len(self.connections) > self._limits.connections:
            next(iter(self._limits.idle))._close()

    def connection_lost(self, exc):
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data):
        if self._refused:
            return
        before = self.headers if self._in_header else None
        super().data_received(data)
        if self._in_header and self.headers is before:  # each request has a list of its own
            self._header_size += len(data)
            if self._header_size > self._limits.header:
                self._refuse_header()

    def send_400_response(self, msg):
        if not self._refused:
            super().send_400_response(msg)

    def on_message_begin(self):
        super().on_message_begin()
        self._in_header, self._header_size = True, 0
        self._start_timer()

    def on_headers_complete(self):
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.header:
            self._refuse_header()
            raise ValueError  # so that the parser stops here
        self._in_header = False
        super().on_headers_complete()

    def on_message_complete(self):
        super().on_message_complete()
        if self._is_answering():
            self._stop_timer()

    def on_response_complete(self):
        super().on_response_complete()
        self._start_timer()

    def shutdown(self):
        super().shutdown()
        if self._timer:
            self._start_timer(_LAST_S)

    def _is_answering(self) -> bool:
        """Whether a whole request has arrived and its reply is not complete."""
        cycle = self.cycle
        if self.pipeline:
            return True
        return bool(cycle and not cycle.more_body and not cycle.response_complete)

    def _start_timer(self, seconds: float | None = None):
        """Starts the time limit, unless the client waits for an answer."""
        if self._is_answering() or self.transport.is_closing():
            return
        self._stop_timer()
        self._limits.idle[self] = None
        self._timer = self.loop.call_later(seconds or self._limits.patience, self._on_timeout)

    def _stop_timer(self):
        self._limits.idle.pop(self, None)
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self):
        if self.flow.read_paused:  # the server has not taken yet what has come
            self._start_timer()
        else:
            self._refuse(408, "the request took too long to arrive")

    def _refuse_header(self):
        self._refuse(
            431, f"the header is larger than the {self._limits.header} bytes that are taken"
        )

    def _refuse(self, status: int, message: str):
        """Answers a request that has begun to arrive, and closes the connection.

        Not at once: a client that is still sending would see a broken pipe and not the reply.
        """
        unanswered = self.cycle and self.cycle.more_body and not self.cycle.response_started
        begun = self._in_header or unanswered
        if self._refused or self._is_answering() or self.transport.is_closing() or not begun:
            self._close()
            return
        content = json.dumps({"error": message}).encode()
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self._refused = True
        self.transport.write(head.encode() + content)
        self.transport.write_eof()
        self._start_timer(_LAST_S)

    def _close(self):
        self._stop_timer()
        self.transport.close()
