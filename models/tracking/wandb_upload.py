"""Uploads a W&B run that lies on disk, within a deadline; what came of it is printed.

    python -m models.tracking.wandb_upload FOLDER RUN_ID --project P [--entity E] [--deadline S]

The key is WANDB_API_KEY in the environment. Exit status 0 once the server shows all of the run,
else 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys


def main() -> int:
    """Uploads, looks whether it arrived, and says so in one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("run_id")
    parser.add_argument("--project", required=True)
    parser.add_argument("--entity", default="")
    parser.add_argument("--deadline", type=float, default=120)
    arguments = parser.parse_args()
    where = (arguments.entity, arguments.project, arguments.run_id)
    # A process group of its own: all that W&B starts ends at the deadline.
    worker = subprocess.Popen(
        [sys.executable, "-m", "models.tracking.wandb_sync", arguments.folder, *where],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = worker.communicate(timeout=arguments.deadline)
        reason = (output.strip().splitlines() or ["no output"])[-1]
    except subprocess.TimeoutExpired:
        os.killpg(worker.pid, signal.SIGKILL)
        reason = f"the server did not take it within {arguments.deadline:.0f} s"
    if worker.returncode == 0:
        print(f"uploaded: {reason}", flush=True)
        return 0
    print(f"not uploaded: {reason}. Later: wandb sync {arguments.folder}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
