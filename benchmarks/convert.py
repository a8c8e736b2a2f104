"""Measures speed, output size and memory of the conversion of photos to TFRecords.

    python benchmarks/convert.py PHOTOS

PHOTOS has `<label>/*.jpg`; without it, images of 300-500 px are drawn. Speed is measured for the
first of `--counts` (median of `--rounds` runs, photos in the page cache); it includes the start of
the worker processes, except the import of their code. Memory is measured for each count: the peak
proportional set size of all processes of the conversion, sampled 50 times a second. The load of the
machine before the start is printed.

Then memory by the size of the photos (`--megapixels`, two workers), and the memory of the process
that lists, plans and converts a folder of many small photos (`--files`, without its workers).
"""

from __future__ import annotations

import argparse
import json
import os
import random
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

LIST = """
import sys
import data
from data.record.photos import EncodeOptions
from data.conversion.planning import make_plan
source, folder, photos = sys.argv[1], sys.argv[2], int(sys.argv[3])
def used():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
before = used()
table = data.scan(source)
listed = used()
make_plan(table, data.IMAGE_CSV_SCHEMA, EncodeOptions("jpeg"), gzip=False)
planned = used()
made = data.convert(table, tfrecord_dir=folder, encoding="jpeg", progress=lambda *_: None)
assert made["metrics"]["good_images"] == photos
figures = " | ".join(f"{(kib - before) / photos:.2f}" for kib in (listed, planned, used()))
print(f"| {photos:,} | {before / 1024:.0f} | {figures} |")
"""


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--counts", nargs="+", type=int, default=[600, 6000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megapixels", nargs="*", type=int, default=[24, 50])
    parser.add_argument("--files", nargs="*", type=int, default=[200_000])
    arguments = parser.parse_args()

    print(f"{os.cpu_count()} cores, load before the start {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch:
        photos = arguments.photos or drawn(Path(scratch, "drawn"))
        pictures = sorted(
            (path for path in photos.glob("*/*") if path.is_file()), key=lambda path: path.name
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
        print_limits(arguments.megapixels, arguments.files, Path(scratch))


def print_limits(megapixels: list[int], counts: list[int], scratch: Path) -> None:
    """Prints the tables of the growth of memory."""
    if megapixels:
        print("\n| encoding | megapixels a photo | peak memory, MiB |\n|---|---:|---:|")
    for size in megapixels:
        source = scratch / f"large-{size}"
        photos = [large(scratch / "large" / label / f"{size}.jpg", size) for label in "ab"]
        lay_out(photos, 3, source)
        for encoding in ("jpeg", "raw"):
            peak = measure(source, scratch / "out", encoding, 3)["peak"] / 2**20
            print(f"| {encoding} | {size} | {peak:.0f} |", flush=True)
    if counts:
        print("\n| photos | MiB before | KiB a photo: listed | planned | converted |")
        print("|---:|---:|---:|---:|---:|", flush=True)
    for count in counts:
        source, made = scratch / f"many-{count}", scratch / "many-records"
        many(source, count)
        subprocess.run([sys.executable, "-c", LIST, source, made, str(count)], check=True)
        shutil.rmtree(source)
        shutil.rmtree(made)


def many(folder: Path, count: int) -> None:
    """Writes small photos of two labels; a comment in each file makes them distinct."""
    from PIL import Image

    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
    for number in range(count):
        path = folder / ("cat", "dog")[number % 2] / f"photo-of-an-animal-{number:06d}.jpg"
        if number < 2:
            Image.new("RGB", (16, 16), "teal").save(path, comment="-")
            start, _, end = path.read_bytes().partition(b"\xff\xfe\x00\x03-")
        path.write_bytes(start + b"\xff\xfe\x00\x0a%08d" % number + end)


def large(path: Path, megapixels: int) -> Path:
    """Writes an enlarged drawing."""
    from PIL import Image

    from data.sources.sample_faces import draw_face

    width = 6000
    path.parent.mkdir(parents=True, exist_ok=True)
    face = draw_face("cat", 300, random.Random(0))
    face.resize((width, megapixels * 1_000_000 // width), Image.Resampling.BICUBIC).save(path)
    return path


def import_seconds() -> float:
    """Returns the start-up time of a worker process, the median of five."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "import data.conversion.worker"],
            env=os.environ | {"PAWPRINT_DATA_WORKER": "1"},
            check=True,
        )
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def drawn(folder: Path) -> Path:
    """Draws sixty images of 300, 400 and 500 px as `<folder>/<label>/*.jpg`."""
    from data.sources import samples

    for size in (300, 400, 500):
        samples.draw(folder / str(size), count=20, size=size, seed=size)
        for path in (folder / str(size)).glob("*/*.jpg"):
            target = folder / path.parent.name / f"{size}-{path.name}"
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
        shutil.rmtree(folder / str(size))
    return folder


def lay_out(pictures: list[Path], count: int, folder: Path) -> int:
    """Copies `count` photos into `<folder>/<TRAIN|VALIDATION|TEST>/<label>/`, repeated as needed.

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
    """Converts in a child process; returns seconds, size and peak memory in bytes."""
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
    """Returns a process and its descendants."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def memory(pid: int) -> int:
    """Returns the proportional set size of a process in bytes; 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    main()
