"""Measures time and size of each gzip level on raw records; `data` uses level 1.

    python -m benchmarks.gzip_level PHOTOS

PHOTOS has `<label>/*.jpg`. Compresses the base64 pixels of up to 100 photos on one core.
"""

from __future__ import annotations

import argparse
import time
import zlib
from pathlib import Path

from data.record.photos import EncodeOptions, photo_features


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    paths = sorted(parser.parse_args().photos.glob("*/*"), key=lambda path: path.name)[:100]
    raw = [photo_features(path.read_bytes(), EncodeOptions("raw"))["image"] for path in paths]
    photos = sum(path.stat().st_size for path in paths)
    print("| level | images/s | bytes, x the photos' |")
    print("|---:|---:|---:|")
    for level in (0, 1, 2, 3, 6, 9):
        start = time.perf_counter()
        size = sum(len(zlib.compress(image, level)) for image in raw)
        rate = len(raw) / (time.perf_counter() - start)
        print(f"| {level} | {rate:,.0f} | {size / photos:.2f} |", flush=True)


if __name__ == "__main__":
    main()
