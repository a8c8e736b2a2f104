"""Makes many photos from few, by seeded crops, to measure at the size of real data.

    python -m benchmarks.photos PHOTOS COUNT FOLDER

PHOTOS has one folder per label. The same arguments make the same photos.
"""

import argparse
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from PIL import Image, ImageOps

_SUFFIXES = (".jpg", ".jpeg", ".png")
_SMALLEST = 0.6  # smallest fraction of a side that a crop keeps
_QUALITIES = (75, 92)


def more(photos: Path, count: int, folder: Path, seed: int = 0) -> Path:
    """Writes `count` JPEG photos as FOLDER/<label>/<number>.jpg, dealt from `photos` in turn.

    Each is a crop of 60 to 100 % of each side, mirrored half the time, of random JPEG quality.

    Args:
        photos: a folder with one folder of photos a label.
        count: how many to write.
        folder: made where there is none; files of the same name are overwritten.
        seed: of the crops.

    Returns:
        `folder`.

    Raises:
        ValueError: there are no photos.
    """
    photos, folder = Path(photos), Path(folder)
    sources = sorted(p for p in photos.glob("*/*") if p.suffix.lower() in _SUFFIXES)
    if not sources:
        raise ValueError(f"no photos as {photos}/<label>/*")
    for label in {source.parent.name for source in sources}:
        (folder / label).mkdir(parents=True, exist_ok=True)
    # One source at a time, to decode it once.
    tasks = [
        (source, list(range(first, count, len(sources))))
        for first, source in enumerate(sources[:count])
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(_write, tasks, repeat(folder), repeat(seed), chunksize=8):
            pass
    return folder


def _write(task: tuple[Path, list[int]], folder: Path, seed: int) -> None:
    source, numbers = task
    image = Image.open(source).convert("RGB")
    for number, crop in zip(numbers, _crops(image, numbers, seed), strict=True):
        low, high = _QUALITIES
        quality = random.Random(f"{seed} {number} quality").randint(low, high)
        crop.save(folder / source.parent.name / f"{number:06d}.jpg", quality=quality)


def _crops(image: Image.Image, numbers: list[int], seed: int) -> Iterator[Image.Image]:
    for number in numbers:
        chance = random.Random(f"{seed} {number}")
        width, height = (max(1, round(side * chance.uniform(_SMALLEST, 1))) for side in image.size)
        left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
        crop = image.crop((left, top, left + width, top + height))
        yield ImageOps.mirror(crop) if chance.random() < 0.5 else crop


def main() -> None:
    """Writes the photos."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder with one folder of photos per label")
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args()
    more(arguments.photos, arguments.count, arguments.folder, arguments.seed)


if __name__ == "__main__":
    main()
