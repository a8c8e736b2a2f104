"""Lists a folder of photos as an Image CSV table: one row per photo, with its split and label."""

from __future__ import annotations

import os

import pandas as pd

from data.errors import DataError, listing
from data.record.input_schema import IMAGE_CSV_SCHEMA, Schema
from data.record.records import DISCARD
from data.sources.layout import list_photos, photo_digests
from data.sources.splitting import (
    assign_splits,
    check_split_options,
    conflicting,
    resolve_conflicts,
    warn_of_leaks,
)
from data.sources.table import DIGEST
from data.storage import files


def scan(
    folder: str | os.PathLike[str],
    *,
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    conflicts: str = "error",
) -> pd.DataFrame:
    """Lists the photos of a folder with their split and label.

    Two layouts are supported: `<folder>/<label>/*`, which this function splits, and
    `<folder>/<TRAIN|VALIDATION|TEST>/<label>/*`. Photos in a folder `DISCARD` beside split folders
    are listed, and discarded on conversion.

    The split depends only on the content of the photos: within each label they are sorted by a hash
    of their content and cut at the given shares. Equal photos are therefore never in two splits,
    and every machine computes the same split. Cloud Storage provides another hash than local files
    have: to get the same split in both places, list the photos once and use that table in both.

    Rows are in the order of the content hash, which is effectively shuffled. Every visible file is
    listed; files that are not photos are discarded on conversion.

    Args:
        folder: A local folder (its files are hashed) or `gs://bucket/folder` (uses the store's
            hashes and downloads nothing).
        split: Shares of TRAIN, VALIDATION and TEST for the first layout; they sum to 1.
        conflicts: How to treat the same photo under two labels: `error`, `drop` (all its copies) or
            `keep`.

    Returns:
        A table with the columns split, image_uri, label, and `DIGEST`, by which `convert` detects
        photos that have changed.

    Raises:
        DataError: No such folder, no photos, fewer than two labels, a label with too few photos for
            the splits, both layouts mixed, or the same photo under two labels.

    Example:
        ```python
        import data

        table = data.scan("photos", split=(0.7, 0.15, 0.15))
        table.groupby(["split", "label"]).size()
        ```
    """
    table = list_table(files.checked(folder), split=split, conflicts=conflicts)
    if table["label"].nunique() < 2:
        raise DataError(
            f"Fewer than two labels in {folder}: {listing(table['label'].unique())}",
            "A classifier needs at least two labels.",
        )
    return table


def list_table(
    folder: str, *, split: tuple[float, float, float] = (0.8, 0.1, 0.1), conflicts: str
) -> pd.DataFrame:
    """Lists a folder as `scan` does, but allows a single label."""
    check_split_options(split, conflicts)
    photos = list_photos(folder)
    table = pd.DataFrame(
        {
            "split": [photo.split for photo in photos],
            "image_uri": [photo.path for photo in photos],
            "label": [photo.label for photo in photos],
            "digest": [photo.digest for photo in photos],
        },
        dtype=object,
    )
    del photos  # the table has a copy
    table = table.sort_values(["digest", "image_uri"], ignore_index=True)
    table = resolve_conflicts(table, conflicts)
    if table["split"].isna().all():
        table["split"] = assign_splits(table, split)
    else:
        warn_of_leaks(table[table["split"] != DISCARD])
    return table.rename(columns={"digest": DIGEST})


def check_photos(
    table: pd.DataFrame, schema: Schema = IMAGE_CSV_SCHEMA, *, conflicts: str = "error"
) -> pd.DataFrame:
    """Checks the photos of a table from `read_csv` as `scan` checks those of a folder.

    Every local photo is read once. Photos in Cloud Storage are compared by URI.

    Args:
        table: As `check_table` returns it, in the order of the file's rows.
        schema: Column name to type; without photos or labels there is nothing to check.
        conflicts: How to treat the same photo under two labels: `error`, `drop` (all its copies get
            the split DISCARD) or `keep`.

    Returns:
        The table, with `DIGEST` if every photo is local.

    Raises:
        DataError: The same photo under two labels.

    Example:
        ```python
        import data

        table = data.check_photos(data.read_csv("data.csv"), conflicts="drop")
        ```
    """
    check_split_options((1, 0, 0), conflicts)
    if not (schema.image_uri_key and schema.label_key):
        return table
    uris = table[schema.image_uri_key].tolist()
    local = not any(map(files.is_remote, uris))
    photos = pd.DataFrame(
        {
            "split": table[schema.split_key],
            "image_uri": uris,
            "label": table[schema.label_key],
            "digest": photo_digests(uris) if local else uris,
        }
    )
    used = photos[photos["split"] != DISCARD]
    if conflicts == "error":
        resolve_conflicts(used, conflicts, rows=True)
    elif conflicts == "drop" and len(dropped := used.index[conflicting(used)]):
        table = table.copy()
        table.loc[dropped, schema.split_key] = DISCARD
        used = used.drop(dropped)
    warn_of_leaks(used)
    return table.assign(**{DIGEST: photos["digest"]}) if local else table
