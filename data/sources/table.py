"""Tables of rows to convert: read from CSV, checked and cleaned by column name."""

from __future__ import annotations

import codecs
import logging
import os
import urllib.parse
import warnings
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pandas as pd

from data.errors import DataError, MissingError, NotFoundError, listing
from data.record.input_schema import IMAGE_CSV_SCHEMA, Schema
from data.record.records import DISCARD, SPLITS
from data.record.types import (
    ColumnType,
    FloatInput,
    ImageUri,
    IntegerInput,
    IntegerLabel,
    SplitKey,
    StringLabel,
)
from data.storage import files

LOG = logging.getLogger("pawprint.data")

DIGEST = "_digest"
"""A column of `data.scan`: the digest of each photo's content; not a feature of the record."""

_HEAD = 1 << 16
_WHOLE = (IntegerInput, IntegerLabel)
_LABELS = (StringLabel, IntegerLabel)
_INT64 = range(-(2**63), 2**63)


def read_csv(
    path: str | os.PathLike[str],
    schema: Mapping[str, ColumnType] = IMAGE_CSV_SCHEMA,
    *,
    header: str | int | Sequence[int] | None = "infer",
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Reads a CSV file and checks it with `check_table`.

    Fields are read as text, unchanged: `NA`, `None` and `nan` are labels like any other. Bytes that
    are not UTF-8, as in some file names, are preserved. The header determines the separator (comma,
    semicolon or tab) and the encoding (UTF-8, or UTF-16 from spreadsheets). Paths of photos may
    begin with `~` or `file://`, and be relative to the working directory or to the CSV.

    Args:
        path: A local path or a URI such as `gs://bucket/data.csv`.
        schema: Column name to type. Columns are matched by name, others are ignored.
        header: As in `pandas.read_csv`, but at most one row; None for a file without a header.
        names: Column names for a file without a header.

    Returns:
        A table as `check_table` returns it, with the paths of the photos resolved.

    Raises:
        DataError: No such file, not a CSV file, a row with more fields than columns, a photo at a
            web address, or a table that `check_table` refuses.

    Example:
        ```python
        import data

        table = data.read_csv("data.csv")
        ```
    """
    path = files.checked(path)
    if isinstance(header, list | tuple):
        if len(header) != 1:
            raise DataError(f"header must be one row of the CSV. Received: {header!r}")
        (header,) = header
    if header is None and names is None:
        names = list(schema)
    text: dict[str, Any] = {
        "dtype": str,
        "keep_default_na": False,
        "encoding_errors": "surrogateescape",
    }
    try:
        with files.open_read(path) as stream:
            text |= _dialect(stream.read(_HEAD), with_header=header == "infer" and names is None)
        with files.open_read(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Without index_col, an extra field in the first row shifts every column.
            table = pd.read_csv(stream, header=header, names=names, index_col=False, **text)
        if names is None and header == "infer":
            with files.open_read(path) as stream:  # pandas numbers duplicate names above
                table.columns = pd.read_csv(stream, header=None, nrows=1, **text).loc[0].tolist()
    except OSError as error:
        kind = NotFoundError if isinstance(error, FileNotFoundError) else DataError
        raise kind(f"Cannot read {path}", str(error)) from error
    except pd.errors.ParserWarning as error:
        raise DataError(
            f"The first row of {path} has more fields than columns",
            "Quote fields that contain commas, or name all columns.",
        ) from error
    except (TypeError, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is not a valid CSV file", str(error)) from error
    table = check_table(table.drop(columns=DIGEST, errors="ignore"), schema, source=path)
    for column in Schema(schema).columns(ImageUri):
        table[column] = _photo_paths(table[column], path)
    return table


def _dialect(head: bytes, *, with_header: bool) -> dict[str, str]:
    """Returns the encoding from the byte order mark, and the separator from the header."""
    utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if utf16 else "utf-8"
    first = head.decode(encoding, "replace").partition("\n")[0]
    sep = next((sep for sep in ",;\t" if sep in first), ",") if with_header else ","
    return {"encoding": encoding, "sep": sep}


def _photo_paths(uris: pd.Series, source: str) -> pd.Series:
    """Resolves the paths of the photos on this machine."""
    web = uris[uris.str.match("(?i)(https?|ftp)://")]
    if len(web):
        fix = "Expected local paths or gs://bucket/name: download these photos first."
        raise DataError(
            f"{source} has web addresses in column {uris.name!r}",
            f"{listing([f'row {index + 1}: {uri!r}' for index, uri in web.items()])}.",
            fix,
        )
    base = source.rpartition("/")[0]
    return uris.map(lambda uri: _photo_path(uri, base))


def _photo_path(uri: str, base: str) -> str:
    if files.is_remote(uri):
        return uri
    if uri.startswith("file://"):
        return urllib.parse.unquote(urllib.parse.urlsplit(uri).path, errors="surrogateescape")
    path = os.path.expanduser(uri)
    if os.path.isabs(path):
        return path
    slashes = path.replace("\\", "/")
    beside = [] if files.is_remote(base) else [files.join(base, path), files.join(base, slashes)]
    # A path that does not exist is kept: conversion reports it.
    return next((p for p in dict.fromkeys([path, slashes, *beside]) if os.path.exists(p)), path)


def image_csv(table: pd.DataFrame) -> bytes:
    """Formats a table as an Image CSV that `read_csv` reads back unchanged.

    Lines end as in RFC 4180: with a plain line feed, Python's csv module does not quote a carriage
    return in a field, which would then be read as the end of the row.
    """
    columns = ["split", "image_uri", "label"]
    text: str = table.to_csv(columns=columns, index=False, lineterminator="\r\n")
    return text.encode("utf-8", "surrogateescape")


def check_table(
    table: pd.DataFrame,
    schema: Mapping[str, ColumnType] = IMAGE_CSV_SCHEMA,
    *,
    source: str = "the table",
) -> pd.DataFrame:
    """Checks a table and returns a clean copy: typed columns, text and labels stripped.

    Args:
        table: One row per record.
        schema: Column name to type.
        source: Name of the table in messages.

    Returns:
        The columns of the schema in its order, and `DIGEST` if the table has it. Splits are upper
        case; unknown ones are kept, and their rows reported as discarded.

    Raises:
        DataError: A missing or duplicate column, no rows, an empty or missing value, or a value of
            the wrong type. Messages count rows from 1, without the header.
    """
    schema = Schema(schema)
    table = table.rename(columns=lambda name: str(name).strip())
    if missing := [column for column in schema if column not in table.columns]:
        raise MissingError(
            f"{source} lacks {_plural('column', missing)} {listing(missing)}",
            f"Found: {listing(table.columns, 20)}.",
            f"Expected in any order: {', '.join(schema)}.",
        )
    if duplicates := [c for c in schema if list(table.columns).count(c) > 1]:
        raise DataError(f"{source} has the column {duplicates[0]!r} more than once")
    if table.empty:
        raise DataError(f"{source} has no rows")
    kept = [*schema, *({DIGEST} & {*table.columns} - {*schema})]
    clean = table[kept].reset_index(drop=True).rename_axis(columns=None)
    for column, kind in schema.items():
        clean[column] = _clean(clean[column], kind, source)
    _note_splits(clean[schema.split_key], table[schema.split_key], source)
    return clean


def check_classes(
    table: pd.DataFrame, *, needed: Sequence[str] = SPLITS, source: str = "the data"
) -> None:
    """Checks that a table can train and evaluate a classifier.

    Args:
        table: As `scan` and `read_csv` return it, with columns split and label.
        needed: The splits that must have photos of every label.
        source: Name of the table in messages.

    Raises:
        DataError: Fewer than two labels, or a label without photos in a needed split.

    Example:
        ```python
        import data

        data.check_classes(data.scan("photos"), needed=("TRAIN", "VALIDATION"))
        ```
    """
    counts = pd.crosstab(table["label"], table["split"])
    if len(counts) < 2:
        raise DataError(
            f"Fewer than two labels in {source}: {listing(counts.index)}",
            "A classifier needs at least two labels.",
        )
    for split in needed:
        photos = counts[split] if split in counts else counts.iloc[:, 0] * 0
        if lacking := list(photos.index[photos == 0]):
            raise DataError(
                f"No {split} photos of {listing(lacking)} in {source}",
                f"Every label needs photos in {', '.join(needed)}.",
            )


def vocabulary(labels: pd.Series) -> list[str]:
    """Sorts labels by index: most frequent first, ties in reverse text order.

    The order of TensorFlow Transform, and so of TFRecorder.
    """
    counts = labels.value_counts()
    return sorted(
        counts.index,
        key=lambda label: (counts[label], label.encode("utf-8", "surrogateescape")),
        reverse=True,
    )


def _clean(values: pd.Series, kind: ColumnType, source: str) -> pd.Series:
    text = values.astype(object).where(values.notna(), "").map(str)
    if kind is not ImageUri:  # a path may begin or end with a space
        text = text.str.strip()
    if kind is SplitKey:
        return text.str.upper()
    column = values.name
    if kind in (*_WHOLE, FloatInput):
        number = text.map(_whole_number) if kind in _WHOLE else _numbers(text)
        if (bad := number.isna()).any():
            size = "32-bit" if kind is FloatInput else "64-bit"
            raise _bad_values(source, column, text[bad], f"Expected a {size} {kind.value}.")
        return number.astype("float32" if kind is FloatInput else "int64")
    if kind in (*_LABELS, ImageUri) and (text.str.strip() == "").any():
        empty = text[text.str.strip() == ""]
        raise _bad_values(source, column, empty, "Fill in or remove these rows.")
    if (odd := ~text.map(_is_storable)).any():
        fix = "Remove zero bytes and unpaired surrogates, which cannot be stored."
        raise _bad_values(source, column, text[odd], fix)
    return text


def _is_storable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _whole_number(text: str) -> int | None:
    """Parses a 64-bit whole number exactly; None if it is not one. A float has too few digits."""
    try:
        number = Decimal(text)
        whole = number.is_finite() and number.adjusted() < 19 and int(number) == number
    except InvalidOperation:
        return None
    return int(number) if whole and int(number) in _INT64 and "_" not in text else None


def _numbers(text: pd.Series) -> pd.Series:
    """Parses numbers as 32-bit floats; NaN where text is not one or does not fit."""
    with np.errstate(over="ignore"):
        number = pd.to_numeric(text, errors="coerce").astype("float32")
    return number.where(np.isfinite(number))


def _bad_values(source: str, column: str, bad: pd.Series, fix: str) -> DataError:
    rows = ", ".join(f"row {index + 1}: {value!r}" for index, value in bad.head(5).items())
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    what = "empty values" if (bad.str.strip() == "").all() else "invalid values"
    return DataError(f"{source} has {what} in column {column!r}", f"{rows}{more}.", fix)


def _note_splits(splits: pd.Series, given: pd.Series, source: str) -> None:
    spelled = given.map(str).str.strip().reset_index(drop=True)
    if lower := sorted(set(spelled[splits.isin(SPLITS)]) - set(SPLITS)):
        LOG.info("%s: splits %s converted to upper case", source, listing(lower))
    unknown = spelled[~splits.isin([*SPLITS, DISCARD])].value_counts()
    if len(unknown):
        LOG.warning(
            "%s: rows with an unknown split are discarded: %s. Allowed: %s",
            source,
            ", ".join(f"{name!r} ({count} rows)" for name, count in unknown.head(5).items()),
            ", ".join([*SPLITS, DISCARD]),
        )


def _plural(noun: str, items: Sequence[object]) -> str:
    return noun if len(items) == 1 else f"{noun}s"
