"""Serves a model over REST, for development.

python -m pipeline.serve --model RUNS/serving --port 8501
"""

import argparse
import logging
import os
import signal
import socket
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore", category=FutureWarning, module="google")


_THIS_MACHINE = ("127.0.0.1", "localhost")


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
    parser.add_argument("--verbose", action="store_true", help="log every request")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGINT or SIGTERM; requests that have begun are answered first."""
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    try:
        listener = socket.create_server(
            (arguments.host, arguments.port), backlog=1024, reuse_port=False
        )
    except (OSError, OverflowError) as error:
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
    if arguments.host in _THIS_MACHINE:
        # A page in a browser could reach this server under a name of its own (DNS rebinding).
        app = TrustedHostMiddleware(app, [*_THIS_MACHINE], www_redirect=False)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=arguments.verbose,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=60,
    )
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Uvicorn sends a signal it has obeyed once more, to whoever had it before: nobody.
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])
    return 0 if server.started else 1


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
