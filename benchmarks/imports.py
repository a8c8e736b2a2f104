"""Measures the import time of a local run and the savings of `pipeline.run.lazy_imports`.

    python -m benchmarks.imports

Each import runs in its own process, alternating with and without it. Compare processor time, which
hardly depends on other load.
"""

import argparse
import json
import statistics
import subprocess
import sys

_CODE = """
import os, sys, time
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import pipeline.run.ingest, pipeline.run.local_run  # before the libraries, as in a run
from pipeline.run import lazy_imports
lazy_imports.install({modules})
wall, processor = time.monotonic(), time.process_time()
import pipeline.run.dag_runner, pipeline.pipeline, pipeline.run.summary
print([time.monotonic() - wall, time.process_time() - processor])
"""


def seconds(modules: str) -> tuple[float, float]:
    """Returns wall and processor time of the import in a new process.

    Args:
        modules: arguments of `lazy_imports.install`, as source text.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CODE.format(modules=modules)],
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Prints the medians of both, or of each deferred module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--each", action="store_true", help="also without one module at a time")
    arguments = parser.parse_args()
    from pipeline.run.lazy_imports import MODULES

    rows = {"everything": "()", "deferred": ""}
    if arguments.each:
        rows |= {f"all but {m}": repr([o for o in MODULES if o != m]) for m in MODULES}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for _ in range(arguments.repeats):
        for name, modules in rows.items():
            taken[name].append(seconds(modules))
    print(f"{'medians, s':<82}{'wall':>7}{'processor':>11}")
    for name, pairs in taken.items():
        wall, processor = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:<82}{wall:>7.1f}{processor:>11.1f}")


if __name__ == "__main__":
    main()
