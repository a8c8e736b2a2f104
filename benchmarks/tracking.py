"""What Weights & Biases costs a training, with its server in every bad state.

    python -m benchmarks.tracking PHOTOS

Trains the same photos without W&B, offline, and online against a server that refuses, one that
takes connections and never answers, and one that answers 500 to everything. Each training is a
process of its own. `fastest epoch` holds all callbacks; `whole Trainer` is all of `run_fn`, from
its imports to the exported model.
"""

import argparse
import contextlib
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.prepared import prepare
from benchmarks.training import finish, start, with_trainer

CASES = {
    "disabled": "no W&B",
    "offline": "offline",
    "refused": "online, server refuses",
    "silent": "online, server never answers",
    "500": "online, server answers 500",
}


class _Failing(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def server(case: str) -> Iterator[dict[str, str]]:
    """The environment that leads W&B's client to a server in the state of the case."""
    with contextlib.ExitStack() as stack:
        if case == "500":
            failing = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), _Failing))
            threading.Thread(target=failing.serve_forever, daemon=True).start()
            stack.callback(failing.shutdown)
            port = failing.server_port
        else:
            listening = stack.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            if case == "silent":
                listening.listen()
            port = listening.getsockname()[1]
        yield {"WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": "0" * 40}


def main() -> None:
    """Prints one row a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="a folder with one folder of photos a label")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prepared", type=Path, help="keep, or find, the transformed examples")
    arguments = parser.parse_args()
    results: dict[str, list[dict]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder:
        fn_args = prepare(arguments.photos, arguments.prepared or Path(folder, "prepared"))
        fn_args = with_trainer(fn_args, epochs=arguments.epochs)
        for number in range(arguments.rounds):
            for case in list(CASES)[:: -1 if number % 2 else 1]:
                mode = case if case in ("disabled", "offline") else "online"
                wandb = {"mode": mode, "upload_timeout": 5}
                config = fn_args["custom_config"] | {"wandb": wandb}
                with server(case) as changes:
                    scratch = Path(folder, f"{case}-{number}")
                    changed = fn_args | {"custom_config": config}
                    results[case].append(finish(start("alone", changed, scratch, None, changes)))
                print(case, results[case][-1], file=sys.stderr, flush=True)
    base = best(results["disabled"])
    print("| | fastest epoch, photos/s | against no W&B | whole Trainer, s |")
    print("|---|---:|---:|---:|")
    for case, name in CASES.items():
        rate, seconds = best(results[case])
        print(f"| {name} | {rate:.0f} | {rate / base[0]:.1%} | {seconds:.1f} |")


def best(runs: list[dict]) -> tuple[float, float]:
    """The highest rate and the fewest seconds: what else runs on a machine only ever slows."""
    return max(run["rate"] for run in runs), min(run["seconds"] for run in runs)


if __name__ == "__main__":
    main()
