"""Uploads an offline W&B run within a deadline, and prints the result.

    python -m models.tracking.wandb_upload FOLDER RUN_ID --project P [--entity E] [--deadline S]

Reads the key from WANDB_API_KEY in the environment. Exits with status 0 after the server shows the
complete run, otherwise with 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys


def main() -> int:
    """Uploads the run, verifies it, and prints one line with the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("run_id")
    parser.add_argument("--project", required=True)
    parser.add_argument("--entity", default="")
    parser.add_argument("--deadline", type=float, default=120)
    arguments = parser.parse_args()
    where = (arguments.entity, arguments.project, arguments.run_id)
    # In its own process group, so that W&B's own processes are killed at the deadline too.
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
        reason = f"the upload did not finish within {arguments.deadline:.0f} s"
    if worker.returncode == 0:
        print(f"uploaded: {reason}", flush=True)
        return 0
    print(f"not uploaded: {reason}. To retry: wandb sync {arguments.folder}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
