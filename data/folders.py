"""From folders of photos to an Image CSV table: one row a photo, with its split and label."""

from __future__ import annotations

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from data.errors import DataError, listing
from data.records import SPLITS

LOG = logging.getLogger("pawprint.data")

COLUMNS = ["split", "image_uri", "label", "sha256"]
_CONFLICTS = ("error", "drop", "keep")
_BLOCK = 1 << 20


def scan(
    folder: str | os.PathLike,
    *,
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    conflicts: str = "error",
) -> pd.DataFrame:
    """Lists the photos of a folder with their split and label.

    Two layouts: `<folder>/<label>/*`, split here, and `<folder>/<TRAIN|VALIDATION|TEST>/<label>/*`.
    The split depends on the photos' content alone: within each label the photos are ranked by their
    SHA-256 and cut at the asked shares, so equal photos never land in two splits and the same
    photos are split alike on every machine. Rows come in the order of that hash, which is as good
    as shuffled. Every visible file counts as a photo; what is none is found on conversion.

    Args:
        folder: A local folder.
        split: Shares of TRAIN, VALIDATION and TEST for the first layout; they sum to 1.
        conflicts: What to do about the same photo under two labels: `error`, `drop` (every copy of
            it) or `keep`.

    Returns:
        A table with columns split, image_uri, label and sha256 (hexadecimal).

    Raises:
        DataError: No such folder, no photos, fewer than two labels, a label with too few photos for
            the splits, both layouts mixed, or the same photo under two labels.
    """
    root = Path(folder)
    check_options(split, conflicts)
    if not root.is_dir():
        raise DataError(
            f"No such folder: {root}",
            "Expected one folder of photos a label, or TRAIN, VALIDATION, TEST folders of these.",
        )
    rows = list_photos(root)
    if not rows:
        raise DataError(
            f"No photos in {root}",
            "Expected <label>/<photo> or <TRAIN|VALIDATION|TEST>/<label>/<photo> in it.",
        )
    labels = sorted({label for _, _, label in rows})
    if len(labels) < 2:
        raise DataError(
            f"Only one label in {root}: {labels[0]!r}", "A classifier needs two labels or more."
        )
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing releases the interpreter's lock
        digests = pool.map(_sha256, (path for _, path, _ in rows))
        table = pd.DataFrame(
            [(*row, digest) for row, digest in zip(rows, digests, strict=True)], columns=COLUMNS
        )
    table = table.sort_values(["sha256", "image_uri"], ignore_index=True)
    table = resolve_conflicts(table, conflicts)
    if table["split"].isna().all():
        table["split"] = assign_splits(table, split)
    else:
        _warn_of_leaks(table)
    return table


def list_photos(root: Path) -> list[tuple[str | None, str, str]]:
    """(split or None, path, label) of every visible file in the two known layouts.

    Raises:
        DataError: Split folders lie beside other folders.
    """
    folders = _visible_folders(root)
    splits = [f for f in folders if f.name.strip().upper() in SPLITS]
    if not splits:
        return [(None, str(p), f.name.strip()) for f in folders for p in _visible_files(f)]
    if others := [f.name for f in folders if f not in splits]:
        raise DataError(
            f"Split folders and other folders lie side by side in {root}: {listing(others)}",
            f"Allowed beside each other: {', '.join(SPLITS)}, or labels only.",
        )
    return [
        (split.name.strip().upper(), str(path), label.name.strip())
        for split in splits
        for label in _visible_folders(split)
        for path in _visible_files(label)
    ]


def assign_splits(table: pd.DataFrame, shares: tuple[float, float, float]) -> pd.Series:
    """The split of each row, by rank of its content hash within its label.

    Raises:
        DataError: A label has fewer distinct photos than there are splits with a share.
    """
    wanted = [name for name, share in zip(SPLITS, shares, strict=True) if share > 0]
    splits: dict[tuple[str, str], str] = {}
    short = {}
    for label, digests in table.groupby("label")["sha256"]:
        distinct = sorted(set(digests), key=lambda digest: _rank(label, digest))
        if len(distinct) < len(wanted):
            short[label] = len(distinct)
            continue
        for digest, name in zip(distinct, _cut(len(distinct), shares), strict=True):
            splits[label, digest] = name
    if short:
        raise DataError(
            "Too few photos to split: "
            + ", ".join(f"{label!r} has {count}" for label, count in list(short.items())[:5]),
            f"Each label needs {len(wanted)} distinct photos or more, one for each of "
            f"{', '.join(wanted)}.",
            "Add photos, remove the folder, or set data.split to give a split the share 0.",
        )
    return pd.Series(
        [splits[key] for key in zip(table["label"], table["sha256"], strict=True)], table.index
    )


def resolve_conflicts(table: pd.DataFrame, conflicts: str) -> pd.DataFrame:
    """The table without photos that stand under two labels, or an error that names them."""
    if conflicts == "keep":
        return table
    several = table.groupby("sha256")["label"].transform("nunique") > 1
    if not several.any():
        return table
    if conflicts == "drop":
        LOG.warning("%d files dropped: the same photo under two labels", several.sum())
        return table[~several].reset_index(drop=True)
    groups = [
        " = ".join(f"{row.image_uri!r} ({row.label})" for row in group.itertuples())
        for _, group in table[several].groupby("sha256")
    ]
    raise DataError(
        f"The same photo under two labels: {len(groups)} photos",
        *groups[:5],
        f"and {len(groups) - 5} more" if len(groups) > 5 else "",
        "Remove the wrong copies, or set data.conflicts=drop to leave all of them out.",
    )


def check_options(split: tuple[float, ...], conflicts: str) -> None:
    """Refuses shares that are not a split and unknown ways with conflicts."""
    if len(split) != 3 or min(split) < 0 or split[0] == 0 or abs(sum(split) - 1) > 1e-6:
        raise DataError(
            f"data.split is no split: {split!r}",
            "Expected three shares for TRAIN, VALIDATION and TEST that sum to 1; TRAIN's above 0.",
        )
    if conflicts not in _CONFLICTS:
        raise DataError(
            f"Unknown data.conflicts: {conflicts!r}", f"Allowed: {', '.join(_CONFLICTS)}."
        )


def _cut(count: int, shares: tuple[float, float, float]) -> list[str]:
    """The split of each rank: the asked shares, rounded, at least one where a share is asked."""
    counts = {
        name: max(1, round(count * share)) if share else 0
        for name, share in zip(SPLITS[1:], shares[1:], strict=True)
    }
    while sum(counts.values()) > count - 1:  # TRAIN keeps at least one
        counts[max(counts, key=counts.get)] -= 1
    names = [name for name, size in counts.items() for _ in range(size)]
    return names + [SPLITS[0]] * (count - len(names))


def _rank(label: str, digest: str) -> str:
    return hashlib.sha256(f"{label}\0{digest}".encode("utf-8", "surrogateescape")).hexdigest()


def _warn_of_leaks(table: pd.DataFrame) -> None:
    leaks = table.groupby("sha256")["split"].transform("nunique") > 1
    if leaks.any():
        LOG.warning(
            "%d files hold a photo that is in more than one split, such as %s: measures on "
            "VALIDATION and TEST will flatter",
            leaks.sum(),
            table[leaks]["image_uri"].iloc[0],
        )


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def _visible_files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
