"""Draws photos for the tests of `data`, and finds the shared ones."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data.record import records, tfrecord

SHARED = Path(__file__).resolve().parents[3] / "shared"


def shared(*parts: str) -> Path:
    """A file of the shared photos and records; skips the test if it is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(parts)} beside the repository, in shared/")
    return path


def picture(seed: int, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> Image.Image:
    """Smooth random colours, so that JPEG changes them little, in one of Pillow's modes."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    image = small.resize(size, Image.Resampling.BICUBIC)
    if mode.startswith("I;16"):
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        order = ">u2" if mode.endswith("B") else "<u2"
        return Image.frombytes(mode, size, grey.astype(order).tobytes())
    if mode == "I":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.int32) * 257)
    if mode == "LAB":
        return Image.frombytes(mode, size, image.tobytes())
    return image.convert("P").convert(mode) if mode == "PA" else image.convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    """The content of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo_folder(
    folder: Path, counts: dict[str, int], size: tuple[int, int] = (24, 16), seed: int = 0
) -> Path:
    """`<folder>/<label>/<number>.jpg`, every photo different."""
    rng = random.Random(seed)
    for label, count in counts.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            content = encoded(picture(rng.randrange(1 << 30), size))
            (folder / label / f"{number:03d}.jpg").write_bytes(content)
    return folder


def image_table(folder: Path, splits: dict[str, int], labels=("cat", "dog")) -> pd.DataFrame:
    """An Image CSV of drawn photos: rows per split, with the labels in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, count in splits.items():
        for number in range(count):
            path = folder / f"{split}-{number:03d}.jpg"
            path.write_bytes(encoded(picture(len(rows))))
            rows.append((split, str(path), labels[number % len(labels)]))
    return pd.DataFrame(rows, columns=["split", "image_uri", "label"])


def read_all(folder: str | Path, split: str = "train") -> list[dict]:
    """The parsed records of a split, in the order of the shards."""
    paths = sorted(Path(folder).glob(f"{split}-*.tfrecord*"))
    return [records.parse(record) for path in paths for record in tfrecord.read(str(path))]


def manifest_of(folder: str | Path) -> dict:
    return json.loads((Path(folder) / "manifest.json").read_text())
