"""Measures the data components with several numbers of Beam processes and photos.

    python -m benchmarks.beam_processes PHOTOS --counts 4000 20000 --processes 1 2

PHOTOS has one folder per label; `benchmarks.photos` makes each number of photos from them. Every
measurement runs in its own process, without imports. `placement.beam_processes` is based on these
figures.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.data_components import COUNTED, run_to_transform
from benchmarks.photos import more


def measure(photos: str, processes: int) -> dict[str, float]:
    """Returns the wall time of each component, and processor time and memory of all.

    Args:
        photos: folder with one folder of photos a label.
        processes: of Beam.
    """
    from pipeline.run import lazy_imports

    lazy_imports.install()

    settings = ("model.image_size=224", f"beam.processes={processes}")
    before = _processor_time()
    with tempfile.TemporaryDirectory() as root:
        _, seconds = run_to_transform("ours", photos, root, *settings)
    times = {name: seconds[name] for name in COUNTED}
    peaks = [resource.getrusage(who).ru_maxrss / 2**20 for who in _WHO]
    return times | {"processor": _processor_time() - before, "GiB/process": max(peaks)}


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _processor_time() -> float:
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, _WHO))


def main() -> None:
    """Prints one row per number of photos and of processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder with one folder of photos per label")
    parser.add_argument("--counts", type=int, nargs="+", default=[4000, 20000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, os.cpu_count()])
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(str(arguments.photos), arguments.processes[0])))
        return
    columns = (*COUNTED, "processor", "GiB/process")
    print(f"{'photos':>7}{'processes':>11}" + "".join(f"{c:>18}" for c in columns) + "   wall, s")
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as folder:
            more(arguments.photos, count, Path(folder))
            for processes in arguments.processes:
                command = [sys.executable, "-m", "benchmarks.beam_processes", folder, "--measure"]
                done = subprocess.run(
                    [*command, "--processes", str(processes)],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    sys.exit(done.stderr[-4000:])
                row = json.loads(done.stdout.splitlines()[-1])
                figures = "".join(f"{row[c]:>18.1f}" for c in columns)
                wall = sum(row[c] for c in COUNTED)
                print(f"{count:>7}{processes:>11}{figures}{wall:>10.1f}", flush=True)


if __name__ == "__main__":
    main()
