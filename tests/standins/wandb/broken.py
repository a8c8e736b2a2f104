"""W&B servers that do not work, for the real client."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STATES = ("refused", "silent", "500")


class _Failing(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def broken_server(state: str) -> Iterator[str]:
    """Address of a server that refuses connections, takes them and never answers, or answers 500 to
    everything: `refused`, `silent`, `500`."""
    if state == "500":
        with ThreadingHTTPServer(("127.0.0.1", 0), _Failing) as failing:
            threading.Thread(target=failing.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{failing.server_port}"
            failing.shutdown()
        return
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        if state == "silent":
            bound.listen()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
