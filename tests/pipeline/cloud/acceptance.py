"""The pipeline in a real Google project: `make acceptance-gcp CONFIG=... BUDGET=20`.

Costs money. Creates records and artifacts in the bucket, Dataflow jobs, a custom job and two
pipeline runs; the pushed model stays deployed until it is undeployed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from data.sources import samples
from tests.conftest import QUICK, REPOSITORY


def run(*arguments: str, allowed: tuple[int, ...] = (0,)) -> str:
    """Runs one command of the runner and shows its output; returns the output."""
    command = [sys.executable, "runner_dataflow.py", *arguments]
    print("\n$", " ".join(["python", *command[1:]]), flush=True)
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = []
    for line in process.stdout:
        print(" ", line, end="", flush=True)
        lines.append(line)
    status = process.wait()
    if status not in allowed:
        sys.exit(f"FAILED: exit status {status}, expected {' or '.join(map(str, allowed))}")
    return "".join(lines)


def main() -> None:
    """Runs the commands one after the other; stops at the first that fails."""
    parser = argparse.ArgumentParser(prog="make acceptance-gcp", description=__doc__)
    parser.add_argument("config")
    parser.add_argument("budget", help="maximum cost of one run in USD")
    given = parser.parse_args()
    shared = ["--config", given.config, *QUICK]
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        samples.draw(photos, count=80, size=64)
        run("plan", *shared, "--images", str(photos))
        first = run(
            *("submit", *shared, "--images", str(photos)),
            *("--budget", given.budget, "--wait"),
        )
        assert "pushed " in first, "the run succeeded, but nothing was pushed"
        again = run(
            *("submit", *shared, "--images", str(photos)),
            *("--budget", given.budget, "--wait"),
        )
        cached = re.findall(r"(\w+) +cached", again)
        missing = {"StatisticsGen", "Transform", "Trainer"} - set(cached)
        assert not missing, f"run again although nothing changed: {sorted(missing)}"
        names = re.findall(r"run (\S+) started", first + again)
        for name in names:
            assert "succeeded" in run("status", *shared, name)
        never = "0 0 1 1 *"
        made = run("submit", *shared, "--images", str(photos), "--schedule", never)
        run("cancel", *shared, re.search(r"schedule (\d+) created", made)[1])
    print("\npassed: two runs, the second from the cache; a schedule created and deleted")


if __name__ == "__main__":
    main()
