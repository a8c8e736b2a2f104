"""Sample photos for a demo with no download. They are drawings, not photographs."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data.errors import DataError, listing
from data.sources.sample_faces import KINDS, draw_face

CLASSES = tuple(KINDS)
"""The kinds of faces that can be drawn."""

_ARGUMENTS = ".drawn.json"  # in the finished folder: which drawings these are


def draw(
    output_dir: str | os.PathLike,
    *,
    count: int = 400,
    size: int = 160,
    classes: Sequence[str] = ("cat", "dog"),
    wrong_labels: float = 0.0,
    seed: int = 0,
    if_absent: bool = False,
) -> dict[str, int]:
    """Draws labelled animal faces into `<output_dir>/<label>/<number>.jpg`.

    Equal arguments give equal pictures. The folder appears whole or not at all.

    Args:
        output_dir: A folder that does not exist yet or is empty.
        count: Pictures in all, spread evenly over the classes.
        size: About the length of a picture's sides in pixels.
        classes: Two or more of `CLASSES`.
        wrong_labels: The share of pictures that go to a wrong label's folder, 0 to 1, so that a
            model learns nothing and a quality gate can be seen to refuse it.
        seed: Another seed, other pictures.
        if_absent: Leave a folder as it is that holds exactly these drawings already.

    Returns:
        Label to number of pictures in its folder.

    Raises:
        DataError: Arguments that make no sense, or a folder with something in it.
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
            f"{folder} is there already and does not hold these drawings"
            if if_absent
            else f"{folder} is there already and not empty",
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
        picture = draw_face(kind, size, rng)
        picture.save(partial / label / f"{number:05d}.jpg", quality=rng.randrange(80, 96))
    counts = dict(Counter(labels))
    (partial / _ARGUMENTS).write_text(json.dumps({"arguments": arguments, "counts": counts}))
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)
    return counts


def _drawn(folder: Path, arguments: dict) -> dict[str, int] | None:
    """The counts of a folder that was drawn with these arguments and has lost nothing since."""
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
        raise DataError(f"Two or more different classes are needed. Received: {listing(classes)}")
    if count < len(classes):
        raise DataError(f"At least one picture a class is needed. Received: count={count}")
    if size < 32:
        raise DataError(f"Faces need 32 pixels or more. Received: size={size}")
    if not 0 <= wrong <= 1:
        raise DataError(f"wrong_labels is a share from 0 to 1. Received: {wrong}")
