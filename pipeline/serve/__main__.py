"""Serves a model over REST, for development.

python -m pipeline.serve --model RUNS/serving --port 8501
"""

import argparse
import contextlib
import ipaddress
import logging
import os
import resource
import signal
import socket
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from pipeline.serve.versions import Versions

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore", category=FutureWarning, module="google")

_LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_MAX_CONNECTIONS = 4096
_SHUTDOWN_S = 60
"""Seconds that requests in progress may take after the server was asked to stop."""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.serve",
        description="Serves a model over the REST APIs of TensorFlow Serving and Google Cloud.",
        epilog="example: python -m pipeline.serve --model runs/serving",
    )
    number = _positive
    parser.add_argument(
        "--model",
        required=True,
        type=Path,
        metavar="FOLDER",
        help="folder of versions, or a SavedModel",
    )
    parser.add_argument("--name", default="pawprint", help="model name in the URL (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", default=8501, type=int, help="port (%(default)s); 0 picks a free one"
    )
    parser.add_argument(
        "--poll",
        default=1.0,
        type=_seconds,
        help="seconds between checks for a new version (%(default)s)",
    )
    parser.add_argument("--threads", type=number, help="batches run in parallel (one per core)")
    parser.add_argument("--max-batch", type=number, help="instances per batch (16)")
    parser.add_argument("--max-body-mb", type=number, help="largest request in MB (32)")
    parser.add_argument("--max-instances", type=number, help="instances per request (256)")
    parser.add_argument(
        "--max-header-kb", default=64, type=number, help="largest header in KB (%(default)s)"
    )
    parser.add_argument(
        "--client-timeout",
        default=60.0,
        type=_seconds,
        help="seconds for a request to arrive, and between requests (%(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="log every request")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGINT or SIGTERM, then completes the requests in progress.

    Returns:
        Exit status: 0; 1 if the server did not start; 2 for invalid arguments.
    """
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    try:
        listener = _listener(arguments.host, arguments.port)
    except (OSError, OverflowError, UnicodeError) as error:
        print(
            f"error: cannot listen on {arguments.host}:{arguments.port}: {error}", file=sys.stderr
        )
        return 2
    if not arguments.model.is_dir():
        print(
            f"error: no such folder: {arguments.model}; the first push creates it", file=sys.stderr
        )
        return 2
    return _serve(arguments, listener)


def _serve(arguments: argparse.Namespace, listener: socket.socket) -> int:
    import uvicorn
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    # Imported after the arguments are checked: TensorFlow takes seconds to import.
    from pipeline.serve.app import create_app
    from pipeline.serve.connection import Connection, Limits
    from pipeline.serve.options import ServeOptions

    overrides = {
        "threads": arguments.threads,
        "max_batch": arguments.max_batch,
        "max_body": arguments.max_body_mb and arguments.max_body_mb << 20,
        "max_instances": arguments.max_instances,
    }
    options = ServeOptions(
        arguments.model,
        arguments.name,
        poll=arguments.poll,
        **{key: value for key, value in overrides.items() if value},
    )
    host, port = listener.getsockname()[:2]
    url_host = f"[{host}]" if ":" in host else host

    def ready(versions: "Versions") -> None:
        what = f"version {versions.served.version}" if versions.served else "no version yet"
        print(f"{options.name}, {what}, at http://{url_host}:{port}", flush=True)

    app: ASGIApp = create_app(options, ready)
    if ipaddress.ip_address(host).is_loopback:
        # Guards against DNS rebinding by a page in a browser on this machine.
        names = [*_LOOPBACK_HOSTS, url_host, arguments.host]
        app = TrustedHostMiddleware(app, names, www_redirect=False)
    limits = Limits(
        arguments.max_header_kb << 10,
        arguments.client_timeout,
        min(_MAX_CONNECTIONS, _file_limit() // 2),
    )
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(Connection, limits),  # type: ignore[arg-type]  # any factory is called
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=arguments.verbose,
        # Longer than the timeout of `Connection`, which also covers incomplete requests.
        timeout_keep_alive=arguments.client_timeout + 1,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Uvicorn re-raises the captured signal for the previous handler; ignore it there.
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _listener(host: str, port: int) -> socket.socket:
    """Returns a listening socket for a host name; IPv4 where it resolves to both families."""
    found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, (address, _, *more) = min(found)
    return socket.create_server((address, port, *more), family=family, backlog=1024)


def _file_limit() -> int:
    """Raises the limit of open files to the hard limit and returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS allows fewer than the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more. Received: {number}")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.01 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"must be 0.01 or more. Received: {text}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
