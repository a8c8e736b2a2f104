"""Which split a photo goes to, decided by its content alone."""

from __future__ import annotations

import hashlib
import logging
import math

import pandas as pd

from data.errors import DataError
from data.record.records import SPLITS

LOG = logging.getLogger("pawprint.data")

CONFLICTS = ("error", "drop", "keep")


def assign_splits(table: pd.DataFrame, shares: tuple[float, float, float]) -> pd.Series:
    """The split of each row: its content's rank within its label, cut at the asked shares.

    A photo under several labels goes where the first of these, by name, puts it: it must not be
    trained on under one label and tested under another.

    Args:
        table: Columns label and digest (equal for equal photos).
        shares: Of TRAIN, VALIDATION and TEST.

    Raises:
        DataError: A label has fewer distinct photos than there are splits with a share.
    """
    wanted = [name for name, share in zip(SPLITS, shares, strict=True) if share > 0]
    splits: dict[str, str] = {}
    short = []
    for label, digests in table.groupby("label")["digest"]:
        distinct = sorted(set(digests), key=lambda digest, label=label: _rank(label, digest))
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
            f"Each label needs {len(wanted)} distinct photos or more, one for each of "
            f"{', '.join(wanted)}.",
            "Add photos, remove the folder, or give a split the share 0.",
        )
    return table["digest"].map(splits)


def conflicting(table: pd.DataFrame) -> pd.Series:
    """Whether each row's photo stands under two labels."""
    return table.groupby("digest")["label"].transform("nunique") > 1


def resolve_conflicts(table: pd.DataFrame, conflicts: str, rows: bool = False) -> pd.DataFrame:
    """The table without photos that stand under two labels, or an error that names them.

    Args:
        table: Columns label, image_uri and digest.
        conflicts: `error`, `drop` or `keep`.
        rows: Whether the index counts the rows of a file, so that the error names them.
    """
    if conflicts == "keep":
        return table
    several = conflicting(table)
    if not several.any():
        return table
    if conflicts == "drop":
        LOG.warning("%d files dropped: the same photo under two labels", several.sum())
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
        "Remove the wrong copies, or set conflicts to drop to leave all of them out.",
    )


def warn_of_leaks(table: pd.DataFrame) -> None:
    """Tells of photos that the given split folders put in more than one split."""
    leaks = table.groupby("digest")["split"].transform("nunique") > 1
    if leaks.any():
        LOG.warning(
            "%d files hold a photo that is in more than one split, such as %s: measures on "
            "VALIDATION and TEST will flatter",
            leaks.sum(),
            table[leaks]["image_uri"].iloc[0],
        )


def check_split_options(shares: tuple[float, ...], conflicts: str) -> None:
    """Refuses shares that are no split and unknown ways with conflicts.

    Raises:
        DataError: What is wrong and what is allowed.
    """
    good = len(shares) == 3 and min(shares) >= 0 and shares[0] > 0
    if not good or not math.isclose(sum(shares), 1, abs_tol=1e-6):  # nan is close to nothing
        raise DataError(
            f"The shares of the splits are no split: {shares!r}",
            "Expected three shares for TRAIN, VALIDATION and TEST that sum to 1; TRAIN's above 0.",
        )
    if conflicts not in CONFLICTS:
        raise DataError(f"Unknown conflicts: {conflicts!r}", f"Allowed: {', '.join(CONFLICTS)}.")


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
