"""Runs a W&B server in a process of its own.

    python -m tests.standins.wandb [refused | silent | 500]

Without an argument it runs the stand-in, else a broken server. It prints the variables for clients
as a line of JSON. The stand-in prints the number of requests so far for each line on standard
input. Both end when standard input is closed.
"""

import json
import sys

from tests.standins.wandb.broken import broken_server
from tests.standins.wandb.server import KEY, WandbStandIn


def main(state: str = "") -> None:
    """Runs the server until standard input is closed."""
    if state:
        with broken_server(state) as address:
            variables = {"WANDB_BASE_URL": address, "WANDB_API_KEY": KEY}
            print(json.dumps(variables), flush=True)
            sys.stdin.read()
        return
    with WandbStandIn() as server:
        print(json.dumps(server.environment()), flush=True)
        for _ in sys.stdin:
            print(len(server.requests), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
