"""Where photos lie in a folder: `<label>/<photo>` or `<TRAIN|VALIDATION|TEST>/<label>/<photo>`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data import files, gs
from data.errors import DataError, listing
from data.records import SPLITS


@dataclass(frozen=True)
class Photo:
    """One file found.

    Attributes:
        split: None where the folder has no split folders.
        path: Path or URI.
        label: The name of its folder, stripped.
        digest: Equal for files of equal content: SHA-256 of a local file, the store's MD5 of an
            object.
    """

    split: str | None
    path: str
    label: str
    digest: str


def list_photos(folder: str) -> list[Photo]:
    """Every visible file at the right depth of a folder, local or `gs://`.

    Hidden files and folders (their names begin with a dot) and files at other depths are passed
    over.

    Raises:
        DataError: No such folder, no files, or split folders beside other folders.
    """
    remote = files.is_remote(folder)
    found = _objects(folder) if remote else _files(folder)
    visible = [
        (names, digest)
        for names, digest in found
        if len(names) > 1 and not any(name.startswith(".") for name in names)
    ]
    tops = {names[0] for names, _ in visible}
    splits = {top for top in tops if top.strip().upper() in SPLITS}
    if splits and (others := sorted(tops - splits)):
        raise DataError(
            f"Split folders and other folders lie side by side in {folder}: {listing(others)}",
            f"Allowed beside each other: {', '.join(SPLITS)}, or labels only.",
        )
    depth = 3 if splits else 2
    photos = sorted((names, digest) for names, digest in visible if len(names) == depth)
    if not photos:
        raise DataError(
            f"No photos in {folder}",
            "Expected <label>/<photo> or <TRAIN|VALIDATION|TEST>/<label>/<photo> in it.",
        )
    paths = [files.join(folder, *names) for names, _ in photos]
    if remote:
        digests = [digest for _, digest in photos]
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing releases the interpreter's lock
            digests = list(pool.map(files.sha256, paths))
    return [
        Photo(names[0].strip().upper() if splits else None, path, names[-2].strip(), digest)
        for (names, _), path, digest in zip(photos, paths, digests, strict=True)
    ]


def _files(folder: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The path of each local file as its parts below the folder, down to the third level."""
    root = Path(folder)
    if not root.is_dir():
        raise DataError(
            f"No such folder: {folder}",
            "Expected one folder of photos a label, or TRAIN, VALIDATION, TEST folders of these.",
        )
    for level in ("*/*", "*/*/*"):
        for path in root.glob(level):
            if path.is_file():
                yield path.relative_to(root).parts, ""


def _objects(folder: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The same of each object, with the store's digest of its content."""
    for name, size, digest in gs.entries(folder):
        if size or not name.endswith("/"):  # an empty object of that name stands for a folder
            yield tuple(name.split("/")), digest
