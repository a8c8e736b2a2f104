"""Assigns photos to splits by their content alone."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence

import pandas as pd

from data.errors import DataError
from data.record.records import SPLITS

LOG = logging.getLogger("pawprint.data")

CONFLICTS = ("error", "drop", "keep")


def assign_splits(table: pd.DataFrame, shares: tuple[float, float, float]) -> pd.Series:
    """Assigns each row to a split: sorts the photos of a label by content, cuts at the shares.

    A photo under several labels gets the split of the first one by name, so it is not trained on
    under one label and tested under another.

    Args:
        table: Columns label and digest (equal for equal photos).
        shares: Shares of TRAIN, VALIDATION and TEST.

    Returns:
        The split of each row.

    Raises:
        DataError: A label has fewer distinct photos than there are splits with a share.
    """
    wanted = [name for name, share in zip(SPLITS, shares, strict=True) if share > 0]
    splits: dict[str, str] = {}
    short = []
    for label, digests in table.groupby("label")["digest"]:
        distinct = _ranked(label, digests)
        if len(distinct) < len(wanted):
            short.append(f"{label!r} has {len(distinct)}")
            continue
        names = _cut(len(distinct), shares)
        for name in (splits[digest] for digest in distinct if digest in splits):
            names.remove(name if name in names else names[-1])
        free = (digest for digest in distinct if digest not in splits)
        splits |= dict(zip(free, names, strict=True))
    if short:
        raise DataError(
            f"Too few photos to split: {', '.join(short[:5])}",
            f"Each label needs at least {len(wanted)} distinct photos, one for each of "
            f"{', '.join(wanted)}.",
            "Add photos, remove the folder, or set the share of a split to 0.",
        )
    return table["digest"].map(splits)


def conflicting(table: pd.DataFrame) -> pd.Series:
    """Returns for each row whether its photo has more than one label."""
    return table.groupby("digest")["label"].transform("nunique") > 1


def resolve_conflicts(table: pd.DataFrame, conflicts: str, rows: bool = False) -> pd.DataFrame:
    """Removes or refuses photos that have more than one label.

    Args:
        table: Columns label, image_uri and digest.
        conflicts: `error`, `drop` or `keep`.
        rows: Whether the index counts the rows of a file, which the error then names.

    Returns:
        The table, without these photos for `drop`.

    Raises:
        DataError: `conflicts` is `error` and there are such photos.
    """
    if conflicts == "keep":
        return table
    several = conflicting(table)
    if not several.any():
        return table
    if conflicts == "drop":
        LOG.warning("dropped %d files: the same photo under two labels", several.sum())
        return table[~several].reset_index(drop=True)
    groups = [
        " = ".join(
            f"{f'row {row.Index + 1}: ' if rows else ''}{row.image_uri!r} ({row.label})"
            for row in group.itertuples()
        )
        for _, group in table[several].groupby("digest")
    ]
    raise DataError(
        f"The same photo under two labels: {len(groups)} photos",
        *groups[:5],
        f"and {len(groups) - 5} more" if len(groups) > 5 else "",
        "Remove the wrong copies, or set conflicts to drop, which removes all of them.",
    )


def warn_of_leaks(table: pd.DataFrame) -> None:
    """Warns of photos that are in more than one split."""
    leaks = table.groupby("digest")["split"].transform("nunique") > 1
    if leaks.any():
        LOG.warning(
            "%d files hold a photo that is in more than one split, such as %s: metrics on "
            "VALIDATION and TEST will be too high",
            leaks.sum(),
            table[leaks]["image_uri"].iloc[0],
        )


def check_split_options(shares: tuple[float, ...], conflicts: str) -> None:
    """Validates the shares of the splits and the treatment of conflicts.

    Raises:
        DataError: Invalid shares or an unknown value of `conflicts`.
    """
    good = len(shares) == 3 and min(shares) >= 0 and shares[0] > 0
    if not good or not math.isclose(sum(shares), 1, abs_tol=1e-6):  # nan is not close to anything
        raise DataError(
            f"Invalid shares of the splits: {shares!r}",
            "Expected shares of TRAIN, VALIDATION and TEST that sum to 1, with TRAIN above 0.",
        )
    if conflicts not in CONFLICTS:
        raise DataError(f"Unknown conflicts: {conflicts!r}", f"Allowed: {', '.join(CONFLICTS)}.")


def _cut(count: int, shares: tuple[float, float, float]) -> list[str]:
    """Returns the split of each rank: shares rounded, at least one photo if the share is not 0."""
    counts = {
        name: max(1, round(count * share)) if share else 0
        for name, share in zip(SPLITS[1:], shares[1:], strict=True)
    }
    while sum(counts.values()) > count - 1:  # TRAIN keeps at least one
        counts[max(counts, key=lambda name: counts[name])] -= 1
    names = [name for name, size in counts.items() for _ in range(size)]
    return names + [SPLITS[0]] * (count - len(names))


def _ranked(label: str, digests: Sequence[str]) -> list[str]:
    """Sorts the distinct digests of a label by a hash that depends on the label."""
    return sorted(set(digests), key=lambda digest: _rank(label, digest))


def _rank(label: str, digest: str) -> str:
    return hashlib.sha256(f"{label}\0{digest}".encode("utf-8", "surrogateescape")).hexdigest()
