"""Where photos lie in a folder: `<label>/<photo>` or `<TRAIN|VALIDATION|TEST>/<label>/<photo>`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data import files, gs
from data.errors import DataError, listing
from data.records import DISCARD, SPLITS

LOG = logging.getLogger("pawprint.data")


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
    over; a warning counts those that lie in a label's or a split's folder. A folder `DISCARD`
    beside split folders is one of them, as TFRecorder has it.

    Raises:
        DataError: No such folder, no files, or split folders beside other folders.
    """
    remote = files.is_remote(folder)
    visible = [
        (names, digest)
        for names, digest in (_objects(folder) if remote else _files(folder))
        if len(names) > 1 and not any(name.startswith(".") for name in names)
    ]
    tops = {names[0] for names, _ in visible}
    splits = {top for top in tops if top.strip().upper() in SPLITS}
    if splits:
        splits |= {top for top in tops if top.strip().upper() == DISCARD}
    if splits and (others := sorted(tops - splits)):
        raise DataError(
            f"Split folders and other folders lie side by side in {folder}: {listing(others)}",
            f"Allowed beside each other: {', '.join([*SPLITS, DISCARD])}, or labels only.",
        )
    depth = 3 if splits else 2
    photos = sorted((names, digest) for names, digest in visible if len(names) == depth)
    if others := [names for names, _ in visible if len(names) != depth]:
        LOG.warning(
            "%d files are passed over, such as %s: photos are looked for at %s",
            len(others),
            files.join(folder, *others[0]),
            "<split>/<label>/<photo>" if splits else "<label>/<photo>",
        )
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
    """The path of each local file as its parts below the folder."""
    root = Path(folder)
    if not root.is_dir():
        raise _no_folder(folder)

    def fail(error: OSError):
        raise DataError(f"Cannot look into {error.filename}", str(error)) from error

    for place, folders, names in os.walk(root, onerror=fail, followlinks=True):
        above = Path(place).relative_to(root).parts
        if len(above) > 1:  # no photos are due below: a link could lead around in a circle
            folders[:] = [name for name in folders if not Path(place, name).is_symlink()]
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if Path(place, name).is_file():
                yield (*above, name), ""


def _objects(folder: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The same of each object, with the store's digest of its content."""
    try:
        for name, size, digest in gs.entries(folder):
            if size or not name.endswith("/"):  # an empty object of that name stands for a folder
                yield tuple(name.split("/")), digest
    except FileNotFoundError as error:  # no such bucket
        raise _no_folder(folder) from error


def _no_folder(folder: str) -> DataError:
    return DataError(
        f"No such folder: {folder}",
        "Expected one folder of photos a label, or TRAIN, VALIDATION, TEST folders of these.",
    )
