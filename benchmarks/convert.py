"""How fast photos become TFRecords, how large they get and how much memory that takes.

    python benchmarks/convert.py PHOTOS

PHOTOS holds `<label>/*.jpg`; without it, pictures of 300-500 px are drawn. The first figure of
`--counts` is measured for speed (the middle of `--rounds` runs, photos in the page cache), with the
start of the worker processes in it and without what one of them takes to import its code.
Memory is measured for each: the peak over the conversion's processes together, in proportional set
size, sampled 50 times a second. Says how busy the machine was before it began.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

CONVERT = """
import json, sys, time
import data
source, folder, encoding = sys.argv[1:]
start = time.perf_counter()
made = data.convert(source, tfrecord_dir=folder, encoding=encoding, progress=lambda *_: None)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "good": made["metrics"]["good_images"]}))
"""


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--counts", nargs="+", type=int, default=[600, 6000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    print(f"{os.cpu_count()} cores, load before the start {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch:
        pictures = sorted(
            (arguments.photos or drawn(Path(scratch, "drawn"))).glob("*/*"), key=lambda p: p.name
        )
        imports = import_seconds()
        print(f"a worker process imports its code in {imports:.2f} s")
        print(
            "| encoding | photos | images/s | import time apart | bytes of the photos | x | "
            "peak memory, MiB |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|")
        for count in arguments.counts:
            source = Path(scratch, f"source-{count}")
            size = lay_out(pictures, count, source)
            for encoding in ("jpeg", "raw"):
                rounds = arguments.rounds if count == arguments.counts[0] else 1
                runs = [
                    measure(source, Path(scratch, "out"), encoding, count) for _ in range(rounds)
                ]
                seconds = statistics.median(run["seconds"] for run in runs)
                peak = max(run["peak"] for run in runs) / 2**20
                print(
                    f"| {encoding} | {count} | {count / seconds:,.0f} | "
                    f"{count / (seconds - imports):,.0f} | {size:,} | "
                    f"{runs[0]['bytes'] / size:.3f} | {peak:.0f} |",
                    flush=True,
                )


def import_seconds() -> float:
    """What a worker process takes until it can work, the middle of five."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "import data.worker"],
            env=os.environ | {"PAWPRINT_DATA_WORKER": "1"},
            check=True,
        )
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def drawn(folder: Path) -> Path:
    """Sixty pictures of 300, 400 and 500 px."""
    from data import samples

    for size in (300, 400, 500):
        samples.draw(folder / str(size), count=20, size=size, seed=size)
    for path in folder.glob("*/*/*.jpg"):
        target = folder / path.parent.name / f"{path.parts[-3]}-{path.name}"
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    return folder


def lay_out(pictures: list[Path], count: int, folder: Path) -> int:
    """Copies `count` photos into `<folder>/<TRAIN|VALIDATION|TEST>/<label>/`, over again as needed.

    Returns:
        Their bytes in all.
    """
    size = 0
    for number in range(count):
        path = pictures[number % len(pictures)]
        split = {0: "TEST", 1: "VALIDATION"}.get(number % 10, "TRAIN")
        target = folder / split / path.parent.name / f"{number:06d}{path.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)  # also puts it into the page cache
        size += target.stat().st_size
    return size


def measure(source: Path, folder: Path, encoding: str, count: int) -> dict:
    """One conversion in its own process: seconds, bytes of the shards, peak memory in bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    process = subprocess.Popen(
        [sys.executable, "-c", CONVERT, str(source), str(folder), encoding],
        stdout=subprocess.PIPE,
        text=True,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(memory(pid) for pid in family(process.pid)))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"the conversion ended with status {process.returncode}")
    run = json.loads(process.stdout.read())
    if run["good"] != count:
        sys.exit(f"{run['good']} of {count} photos were converted")
    return run | {"peak": peak, "bytes": sum(p.stat().st_size for p in folder.glob("*.tfrecord*"))}


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def memory(pid: int) -> int:
    """The proportional set size of a process in bytes; 0 once it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    main()
