"""Measures time and memory of whole runs and of a bare tf_keras script.

    python -m benchmarks.whole_run PHOTOS [--counts 400 4000 20000] [--rounds 1]

Runs `runner_local.py --images` on a number of photos (seeded crops if there are fewer), the same
command again, and `benchmarks.bare`, which has the same backbone; prints medians over the rounds.
Memory is the peak of the private memory of all processes of a run together.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks import photos

_REPOSITORY = Path(__file__).resolve().parent.parent
_POLL_SECONDS = 0.2


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder with one folder of photos per label")
    parser.add_argument("--counts", type=int, nargs="+", default=[400, 4000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    rows, components = [], {}
    for count in arguments.counts:
        rounds = [
            measure(arguments.photos, count, arguments.settings) for _ in range(arguments.rounds)
        ]
        middle = {
            name: statistics.median(each[name] for each in rounds)
            for name in rounds[0]
            if name != "components"
        }
        rows.append((count, middle))
        components[count] = rounds[-1]["components"]
    print("| photos | whole run, s | again, s | bare script, s | ratio | peak MiB | accuracy |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for count, row in rows:
        ratio = row["seconds"] / row["bare"]
        print(
            f"| {count} | {row['seconds']:.0f} | {row['again']:.0f} | {row['bare']:.0f} | "
            f"{ratio:.2f} | {row['memory']:.0f} | {row['accuracy']:.3f} |"
        )
    print("\n| seconds of |", " | ".join(map(str, components)), "|")
    print("|---|", "---:|" * len(components), sep="")
    for name in next(iter(components.values())):
        print(f"| {name} |", " | ".join(f"{c.get(name, 0):.1f}" for c in components.values()), "|")


def measure(source: Path, count: int, settings: list[str]) -> dict:
    """Measures one run, the same run again, and the script."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = source.resolve()
        if count != sum(1 for path in source.glob("*/*") if path.is_file()):
            folder = photos.more(source, count, Path(scratch, "photos"))
        command = [sys.executable, "runner_local.py", "--images", str(folder)]
        command += ["--root", f"{scratch}/runs", *(f"--set={each}" for each in settings)]
        seconds, memory = run(command)
        summary = max(Path(scratch, "runs", "runs").glob("*/summary.json"))
        report = json.loads(summary.read_text())
        again, _ = run(command)
        bare = [sys.executable, "-m", "benchmarks.bare", str(folder), f"{scratch}/bare"]
        script, _ = run(bare)
    parts = {each["name"]: each["seconds"] for each in report["components"]}
    return {
        "seconds": seconds,
        "again": again,
        "bare": script,
        "memory": memory,
        "accuracy": report["evaluation"]["overall"]["accuracy"],
        "components": parts,
    }


def run(command: list[str]) -> tuple[float, float]:
    """Returns the seconds of a command and the peak memory of its processes in MiB.

    Raises:
        SystemExit: it did not end with status 0, or 3 for a model that was refused.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=_REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode not in (0, 3):
        sys.exit(output[-4000:])
    return seconds, peak[0]


def _watch(pid: int, peak: list[float]) -> None:
    while True:
        try:
            root = psutil.Process(pid)
            processes = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        peak[0] = max(peak[0], sum(map(_own_memory, processes)) / (1 << 20))
        time.sleep(_POLL_SECONDS)


def _own_memory(process: psutil.Process) -> int:
    try:
        # Private memory only: forked workers share pages with their parent.
        return process.memory_full_info().uss
    except psutil.Error:
        return 0


if __name__ == "__main__":
    main()
