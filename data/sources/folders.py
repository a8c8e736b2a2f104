"""From a folder of photos to an Image CSV table: one row a photo, with its split and label."""

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
    folder: str | os.PathLike,
    *,
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    conflicts: str = "error",
) -> pd.DataFrame:
    """Lists the photos of a folder with their split and label.

    Two layouts: `<folder>/<label>/*`, split here, and `<folder>/<TRAIN|VALIDATION|TEST>/<label>/*`
    (a folder `DISCARD` beside these is listed, and discarded on conversion). The split depends on
    the photos' content alone: within each label the photos are ranked by a hash of their content
    and cut at the asked shares, so equal photos never land in two splits and the same photos are
    split alike on every machine. In Cloud Storage the hash is another one, the store's own: list
    the photos in one place, and take that table in both. Rows come in the order of the content
    hash, which is as good as shuffled. Every visible file counts as a photo; what is none is found
    on conversion.

    Args:
        folder: A local folder (its files are hashed) or `gs://bucket/folder` (the store's hashes
            are taken, nothing is downloaded).
        split: Shares of TRAIN, VALIDATION and TEST for the first layout; they sum to 1.
        conflicts: What to do about the same photo under two labels: `error`, `drop` (every copy of
            it) or `keep`.

    Returns:
        A table with columns split, image_uri, label, and `DIGEST`, by which `convert` knows a photo
        that has changed.

    Raises:
        DataError: No such folder, no photos, fewer than two labels, a label with too few photos for
            the splits, both layouts mixed, or the same photo under two labels.
    """
    table = list_table(files.checked(folder), split=split, conflicts=conflicts)
    if table["label"].nunique() < 2:
        raise DataError(
            f"Fewer than two labels in {folder}: {listing(table['label'].unique())}",
            "A classifier needs two labels or more.",
        )
    return table


def list_table(
    folder: str, *, split: tuple[float, float, float] = (0.8, 0.1, 0.1), conflicts: str
) -> pd.DataFrame:
    """Lists a folder as `scan` does, and allows a single label."""
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
    del photos
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
    """What `scan` asks of photos, for a table that `read_csv` gave: each is read once.

    Photos in Cloud Storage count as the same by their address.

    Args:
        table: As `check_table` gives it; row 1 of the file comes first.
        schema: What the columns are; without photos or labels there is nothing to check.
        conflicts: What to do about the same photo under two labels: `error`, `drop` (every copy of
            it gets the split DISCARD) or `keep`.

    Returns:
        The table, with `DIGEST` where every photo is local.

    Raises:
        DataError: The same photo under two labels.
    """
    check_split_options((1, 0, 0), conflicts)
    if not (schema.image_uri_key and schema.label_key):
        return table
    uris = table[schema.image_uri_key].tolist()
    local = not any(map(files.is_remote, uris))
    judged = pd.DataFrame(
        {
            "split": table[schema.split_key],
            "image_uri": uris,
            "label": table[schema.label_key],
            "digest": photo_digests(uris) if local else uris,
        }
    )
    used = judged[judged["split"] != DISCARD]
    if conflicts == "error":
        resolve_conflicts(used, conflicts, rows=True)
    elif conflicts == "drop" and len(dropped := used.index[conflicting(used)]):
        table = table.copy()
        table.loc[dropped, schema.split_key] = DISCARD
        used = used.drop(dropped)
    warn_of_leaks(used)
    return table.assign(**{DIGEST: judged["digest"]}) if local else table
