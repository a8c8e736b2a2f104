"""Finds photos in a folder: `<label>/<photo>` or `<TRAIN|VALIDATION|TEST>/<label>/<photo>`."""

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

_BATCH = 1024  # photos submitted at once: each takes a Future of 1.5 KB
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo file with its label.

    Attributes:
        split: Name of the split folder, upper case; None in a folder without split folders.
        path: Path or URI.
        label: Name of the label folder, stripped.
        digest: Digest of the content: SHA-256 of a local file, the store's MD5 of an object.
    """

    split: str | None
    path: str
    label: str
    digest: str


def list_photos(folder: str) -> list[Photo]:
    """Lists every visible file at the right depth of a folder, local or `gs://`.

    Skips hidden files and folders (names that begin with a dot), those of file managers
    (`Thumbs.db`, `__MACOSX`) and files at another depth. A warning counts the latter if they are in
    a label or split folder. A folder `DISCARD` beside split folders is one of them, as in
    TFRecorder.

    Raises:
        DataError: No such folder, no files, or split folders beside other folders.
    """
    remote = files.is_remote(folder)
    visible = [
        (names, digest)
        for names, digest in (
            _objects(folder) if remote else ((names, "") for names in visible_files(folder))
        )
        if len(names) > 1 and not any(map(is_ignored, names))
    ]
    tops = {names[0] for names, _ in visible}
    splits = {top for top in tops if top.strip().upper() in SPLITS}
    if splits:
        splits |= {top for top in tops if top.strip().upper() == DISCARD}
    if splits and (others := sorted(tops - splits)):
        raise DataError(
            f"Split folders and other folders are mixed in {folder}: {listing(others)}",
            f"Expected only {', '.join([*SPLITS, DISCARD])}, or only label folders.",
        )
    depth = 3 if splits else 2
    photos = sorted((names, digest) for names, digest in visible if len(names) == depth)
    if elsewhere := [names for names, _ in visible if len(names) != depth]:
        LOG.warning(
            "%d files are skipped, such as %s: photos are expected at %s",
            len(elsewhere),
            files.join(folder, *elsewhere[0]),
            "<split>/<label>/<photo>" if splits else "<label>/<photo>",
        )
    if not photos:
        raise NotFoundError(
            f"No photos in {folder}",
            "Expected files at <label>/<photo> or <TRAIN|VALIDATION|TEST>/<label>/<photo>.",
        )
    paths = [files.join(folder, *names) for names, _ in photos]
    digests = [digest for _, digest in photos] if remote else photo_digests(paths)
    _warn_of_similar_labels({names[-2].strip() for names, _ in photos})
    if not (remote or splits):
        empty = {entry.name for entry in os.scandir(folder) if entry.is_dir()} - tops
        if unused := sorted(name for name in empty if not is_ignored(name)):
            LOG.warning("folders without files are not used as labels: %s", listing(unused))
    return [
        Photo(names[0].strip().upper() if splits else None, path, names[-2].strip(), digest)
        for (names, _), path, digest in zip(photos, paths, digests, strict=True)
    ]


def visible_files(folder: str) -> Iterator[tuple[str, ...]]:
    """Yields each visible file below a local folder, at any depth, as the parts of its path.

    Links are followed, cyclic ones once; a broken link is yielded as a file, so that it is
    reported. Skips hidden files and folders, and those of file managers.

    Raises:
        DataError: No such folder, or one that cannot be listed.
    """
    if not Path(folder).is_dir():
        raise _no_folder(folder)
    return _visible(folder, (), frozenset())


def _visible(
    folder: str, above: tuple[str, ...], within: frozenset[str]
) -> Iterator[tuple[str, ...]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"Cannot list {folder}", str(error)) from error
    within |= {os.path.realpath(folder)}
    for entry in entries:
        if is_ignored(entry.name):
            continue
        if entry.is_dir():
            if os.path.realpath(entry.path) not in within:
                yield from _visible(entry.path, (*above, entry.name), within)
        elif entry.is_file() or entry.is_symlink():
            yield (*above, entry.name)


def is_ignored(name: str) -> bool:
    """Whether a file or folder with this name is hidden, or one of a file manager."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def photo_digests(paths: list[str]) -> list[str]:
    """Computes the SHA-256 (hex) of each local file; of its path if it cannot be read."""
    digests: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing releases the GIL
        for start in range(0, len(paths), _BATCH):
            digests += pool.map(_digest, paths[start : start + _BATCH])
    return digests


def _digest(path: str) -> str:
    try:
        return files.sha256(path)
    except (OSError, ValueError):  # a missing file or invalid path: conversion reports it
        return hashlib.sha256(os.fsencode(path)).hexdigest()


def _warn_of_similar_labels(labels: set[str]) -> None:
    groups = defaultdict(set)
    for label in labels:
        groups[unicodedata.normalize("NFKC", label).casefold()].add(label)
    for similar in groups.values():
        if len(similar) > 1:
            LOG.warning(
                "labels %s differ only in case or Unicode composition: they are separate classes; "
                "rename the folders if they should be one",
                listing(sorted(similar)),
            )


def _objects(folder: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields each object in a folder as the parts of its path, and the store's digest."""
    try:
        for name, size, digest in gs.entries(folder):
            if size or not name.endswith(
                "/"
            ):  # an empty object with such a name represents a folder
                yield tuple(name.split("/")), digest
    except FileNotFoundError as error:  # no such bucket
        raise _no_folder(folder) from error


def _no_folder(folder: str) -> NotFoundError:
    return NotFoundError(
        f"No such folder: {folder}",
        "Expected a folder of photos for each label, or TRAIN, VALIDATION, TEST folders of these.",
    )
