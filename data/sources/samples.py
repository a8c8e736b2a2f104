"""Sample photos for demos without a download. They are drawings, not photographs."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import DataError, listing
from data.sources.sample_faces import KINDS, draw_face

CLASSES = tuple(KINDS)
"""The kinds of faces that can be drawn."""

_ARGUMENTS = ".drawn.json"  # in the finished folder: the arguments and counts of the drawings


def draw(
    output_dir: str | os.PathLike[str],
    *,
    count: int = 400,
    size: int = 160,
    classes: Sequence[str] = ("cat", "dog"),
    wrong_labels: float = 0.0,
    seed: int = 0,
    if_absent: bool = False,
) -> dict[str, int]:
    """Draws labelled animal faces into `<output_dir>/<label>/<number>.jpg`.

    Equal arguments give equal images. The folder is created atomically.

    Args:
        output_dir: A folder that does not exist or is empty.
        count: Total number of images, divided evenly between the classes.
        size: Approximate length of the sides of an image in pixels.
        classes: At least two of `CLASSES`.
        wrong_labels: Share of images, 0 to 1, to place in the folder of a wrong label. A model
            trained on them fails the quality gate.
        seed: Seed of the drawings.
        if_absent: Do nothing if the folder holds exactly these drawings.

    Returns:
        Label to number of images in its folder.

    Raises:
        DataError: Invalid arguments, or a folder that is not empty.

    Example:
        ```python
        from data.sources import samples

        samples.draw("photos", count=60, classes=("cat", "dog", "rabbit"))
        ```
    """
    folder = Path(output_dir)
    _check(count, size, classes, wrong_labels)
    arguments = {
        "count": count,
        "size": size,
        "classes": list(classes),
        "wrong_labels": wrong_labels,
        "seed": seed,
    }
    if if_absent and (drawn := _drawn(folder, arguments)):
        return drawn
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} exists and does not hold these drawings"
            if if_absent
            else f"{folder} exists and is not empty",
            "Remove it or name another folder.",
        )
    shuffled = random.Random(f"labels {seed}")
    kinds = [classes[number % len(classes)] for number in range(count)]
    labels = list(kinds)
    for number in shuffled.sample(range(count), round(count * wrong_labels)):
        labels[number] = shuffled.choice([name for name in classes if name != kinds[number]])

    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for label in classes:
        (partial / label).mkdir(parents=True)
    for number, (kind, label) in enumerate(zip(kinds, labels, strict=True)):
        rng = random.Random(f"{seed} {number}")
        image = draw_face(kind, size, rng)
        image.save(partial / label / f"{number:05d}.jpg", quality=rng.randrange(80, 96))
    counts = dict(Counter(labels))
    (partial / _ARGUMENTS).write_text(json.dumps({"arguments": arguments, "counts": counts}))
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)
    return counts


def _drawn(folder: Path, arguments: dict[str, Any]) -> dict[str, int] | None:
    """Returns the counts of a complete folder that was drawn with these arguments, else None."""
    try:
        drawn = json.loads((folder / _ARGUMENTS).read_text())
    except (OSError, ValueError):
        return None
    found = Counter(path.parent.name for path in folder.glob("*/*.jpg"))
    return found if drawn == {"arguments": arguments, "counts": found} else None


def _check(count: int, size: int, classes: Sequence[str], wrong: float) -> None:
    if unknown := [name for name in classes if name not in KINDS]:
        raise DataError(
            f"Unknown sample classes: {listing(unknown)}", f"Allowed: {', '.join(CLASSES)}."
        )
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise DataError(f"Expected at least two different classes. Received: {listing(classes)}")
    if count < len(classes):
        raise DataError(f"Expected at least one image per class. Received: count={count}")
    if size < 32:
        raise DataError(f"size must be at least 32 pixels. Received: {size}")
    if not 0 <= wrong <= 1:
        raise DataError(f"wrong_labels must be a share from 0 to 1. Received: {wrong}")
