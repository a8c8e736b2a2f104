"""Where photos lie in a folder: `<label>/<photo>` or `<TRAIN|VALIDATION|TEST>/<label>/<photo>`."""

from __future__ import annotations

import hashlib
import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError, NotFoundError, listing
from data.record.records import DISCARD, SPLITS
from data.storage import files, gs

LOG = logging.getLogger("pawprint.data")

_BATCH = 1024  # photos at once: an executor keeps a Future of 1.5 KB for each
_HOUSEKEEPING = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}


@dataclass(frozen=True, slots=True)
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

    Hidden files and folders (their names begin with a dot), those that file managers leave
    (`Thumbs.db`, `__MACOSX`) and files at other depths are passed over; a warning counts those that
    lie at another depth in a label's or a split's folder. A folder `DISCARD`
    beside split folders is one of them, as TFRecorder has it.

    Raises:
        DataError: No such folder, no files, or split folders beside other folders.
    """
    remote = files.is_remote(folder)
    visible = [
        (names, digest)
        for names, digest in (
            _objects(folder) if remote else ((names, "") for names in visible_files(folder))
        )
        if len(names) > 1 and not any(map(is_housekeeping, names))
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
        raise NotFoundError(
            f"No photos in {folder}",
            "Expected <label>/<photo> or <TRAIN|VALIDATION|TEST>/<label>/<photo> in it.",
        )
    paths = [files.join(folder, *names) for names, _ in photos]
    digests = [digest for _, digest in photos] if remote else photo_digests(paths)
    _warn_of_twins({names[-2].strip() for names, _ in photos})
    if not (remote or splits):
        empty = {entry.name for entry in os.scandir(folder) if entry.is_dir()} - tops
        if empty := sorted(name for name in empty if not is_housekeeping(name)):
            LOG.warning("folders without a file are no labels: %s", listing(empty))
    return [
        Photo(names[0].strip().upper() if splits else None, path, names[-2].strip(), digest)
        for (names, _), path, digest in zip(photos, paths, digests, strict=True)
    ]


def visible_files(folder: str) -> Iterator[tuple[str, ...]]:
    """Each visible file below a local folder, at any depth, as the parts of its path.

    Links are followed, round in a circle once; a broken one counts as a file, so that it is found
    and listed. Hidden and housekeeping files and folders are left out.

    Raises:
        DataError: No such folder, or one that cannot be looked into.
    """
    if not Path(folder).is_dir():
        raise _no_folder(folder)
    return _visible(folder, (), frozenset())


def _visible(folder: str, above: tuple[str, ...], within: frozenset) -> Iterator[tuple[str, ...]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"Cannot look into {folder}", str(error)) from error
    within |= {os.path.realpath(folder)}
    for entry in entries:
        if is_housekeeping(entry.name):
            continue
        if entry.is_dir():
            if os.path.realpath(entry.path) not in within:
                yield from _visible(entry.path, (*above, entry.name), within)
        elif entry.is_file() or entry.is_symlink():
            yield (*above, entry.name)


def is_housekeeping(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left by a file manager."""
    return name.startswith(".") or name.lower() in _HOUSEKEEPING


def photo_digests(paths: list[str]) -> list[str]:
    """SHA-256 (hex) of each local file; of its path where it cannot be read."""
    digests: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing releases the interpreter's lock
        for start in range(0, len(paths), _BATCH):
            digests += pool.map(_digest, paths[start : start + _BATCH])
    return digests


def _digest(path: str) -> str:
    try:
        return files.sha256(path)
    except (OSError, ValueError):  # a missing file or no possible path: conversion tells
        return hashlib.sha256(os.fsencode(path)).hexdigest()


def _warn_of_twins(labels: set[str]) -> None:
    alike = defaultdict(set)
    for label in labels:
        alike[unicodedata.normalize("NFKC", label).casefold()].add(label)
    for twins in alike.values():
        if len(twins) > 1:
            LOG.warning(
                "labels %s differ in case or in how their characters are composed: they are "
                "separate classes; rename the folders if they are one",
                listing(sorted(twins)),
            )


def _objects(folder: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The same of each object, with the store's digest of its content."""
    try:
        for name, size, digest in gs.entries(folder):
            if size or not name.endswith("/"):  # an empty object of that name stands for a folder
                yield tuple(name.split("/")), digest
    except FileNotFoundError as error:  # no such bucket
        raise _no_folder(folder) from error


def _no_folder(folder: str) -> NotFoundError:
    return NotFoundError(
        f"No such folder: {folder}",
        "Expected one folder of photos a label, or TRAIN, VALIDATION, TEST folders of these.",
    )
