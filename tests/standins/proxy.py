"""An HTTPS proxy that leads every name to one local server: Google's names without root.

Clients that honour `https_proxy` (gRPC, requests, curl) ask it for a tunnel by name, and check the
certificate of whom they reach, so the server needs one for that name.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from socketserver import StreamRequestHandler, ThreadingTCPServer


class Proxy:
    """The proxy; use it as a context manager.

    Attributes:
        url: For `https_proxy`, once entered.
        asked: Every `host:port` that somebody wanted to reach.
    """

    def __init__(self, target: tuple[str, int]):
        """Leads to `target`, a host and port."""
        self._target = target
        self.asked: list[str] = []

    def __enter__(self):
        proxy = self

        class Handler(StreamRequestHandler):
            def handle(self):
                request = self.rfile.readline().decode()
                while self.rfile.readline().strip():
                    pass
                verb, wanted, _ = request.split(" ", 2)
                if verb != "CONNECT":
                    return
                proxy.asked.append(wanted)
                with socket.create_connection(proxy._target) as there:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    back = threading.Thread(target=_pump, args=(there, self.connection))
                    back.start()
                    _pump(self.connection, there)
                    back.join()

        self._server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(1 << 16):
            sink.sendall(chunk)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
