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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore", category=FutureWarning, module="google")

_THIS_MACHINE = ("127.0.0.1", "localhost", "[::1]")
_MOST_CONNECTIONS = 4096
_STOP_S = 60  # that requests which have arrived may take once the server is stopping


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.serve",
        description="A model over the REST of TensorFlow Serving, AI Platform and Vertex AI.",
        epilog="example: python -m pipeline.serve --model runs/serving",
    )
    number = _positive
    parser.add_argument(
        "--model", required=True, type=Path, metavar="FOLDER", help="versions, or one SavedModel"
    )
    parser.add_argument("--name", default="pawprint", help="name in the paths (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address (%(default)s: this machine)")
    parser.add_argument("--port", default=8501, type=int, help="%(default)s; 0 takes a free one")
    parser.add_argument(
        "--poll", default=1.0, type=_seconds, help="seconds between looks (%(default)s)"
    )
    parser.add_argument("--threads", type=number, help="batches at a time (one a core)")
    parser.add_argument("--max-batch", type=number, help="instances in a batch (16)")
    parser.add_argument("--max-body-mb", type=number, help="largest request in MB (32)")
    parser.add_argument("--max-instances", type=number, help="instances in a request (256)")
    parser.add_argument(
        "--max-header-kb", default=64, type=number, help="largest header in KB (%(default)s)"
    )
    parser.add_argument(
        "--client-timeout",
        default=60.0,
        type=_seconds,
        help="seconds that a request has to arrive, and between requests (%(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="log every request")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGINT or SIGTERM; requests that have begun are answered first."""
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
        print(f"error: no such folder: {arguments.model}; a first push makes it", file=sys.stderr)
        return 2
    return _serve(arguments, listener)


def _serve(arguments: argparse.Namespace, listener: socket.socket) -> int:
    import uvicorn
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    # TensorFlow takes seconds to import: only now, when the rest has been checked.
    from pipeline.serve.app import create_app
    from pipeline.serve.connection import Connection, Limits
    from pipeline.serve.options import ServeOptions

    given = {
        "threads": arguments.threads,
        "max_batch": arguments.max_batch,
        "max_body": arguments.max_body_mb and arguments.max_body_mb << 20,
        "max_instances": arguments.max_instances,
    }
    options = ServeOptions(
        arguments.model,
        arguments.name,
        poll=arguments.poll,
        **{key: value for key, value in given.items() if value},
    )
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host

    def ready(versions):
        what = f"version {versions.served.version}" if versions.served else "no version yet"
        print(f"{options.name}, {what}, at http://{shown}:{port}", flush=True)

    app = create_app(options, ready)
    if ipaddress.ip_address(host).is_loopback:
        # A page in a browser could reach this server under a name of its own (DNS rebinding).
        names = [*_THIS_MACHINE, shown, arguments.host]
        app = TrustedHostMiddleware(app, names, www_redirect=False)
    limits = Limits(
        arguments.max_header_kb << 10,
        arguments.client_timeout,
        min(_MOST_CONNECTIONS, _file_limit() // 2),
    )
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(Connection, limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=arguments.verbose,
        # After `Connection`'s own time, which knows of half a request too.
        timeout_keep_alive=arguments.client_timeout + 1,
        timeout_graceful_shutdown=_STOP_S,
    )
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Uvicorn sends a signal it has obeyed once more, to whoever had it before: nobody.
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _listener(host: str, port: int) -> socket.socket:
    """A socket at the address that a name stands for, of IPv4 where there are two."""
    found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, (address, _, *more) = min(found)
    return socket.create_server((address, port, *more), family=family, backlog=1024)


def _file_limit() -> int:
    """Files and connections that may be open: as many as the system allows this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS allows fewer than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, received {number}")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.01 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"must be 0.01 or more, received {text}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
