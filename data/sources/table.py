"""Tables of rows to convert: read from CSV, checked by column name, made clean."""

from __future__ import annotations

import codecs
import logging
import os
import urllib.parse
import warnings
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

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
"""A column of `data.scan`: a hash of each photo's content; no feature of the record."""

_HEAD = 1 << 16
_WHOLE = (IntegerInput, IntegerLabel)
_LABELS = (StringLabel, IntegerLabel)
_INT64 = range(-(2**63), 2**63)


def read_csv(
    path: str | os.PathLike,
    schema: Mapping[str, ColumnType] = IMAGE_CSV_SCHEMA,
    *,
    header: str | int | Sequence[int] | None = "infer",
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Reads and checks a CSV file; see `check_table`.

    Every field is text as it stands there: `NA`, `None` and `nan` are labels like any other. Bytes
    that are no UTF-8, as file names can have, come through. Semicolons, tabs and UTF-16, as
    spreadsheets write them, are told by the header. Paths of photos may begin with `~` or `file://`
    and be relative to the working directory or to the CSV.

    Args:
        path: A local path or a URI such as `gs://bucket/data.csv`.
        schema: What the columns are. Columns are found by name, others are ignored.
        header: As in `pandas.read_csv`, but one row at most; None says that there is none.
        names: Column names for a file without a header.

    Raises:
        DataError: No such file, no CSV, a row with more fields than there are columns, or a table
            that `check_table` refuses; a photo at a web address.
    """
    path = files.checked(path)
    if isinstance(header, list | tuple):
        if len(header) != 1:
            raise DataError(f"header is one row of the CSV. Received: {header!r}")
        (header,) = header
    if header is None and names is None:
        names = list(schema)
    text = {"dtype": str, "keep_default_na": False, "encoding_errors": "surrogateescape"}
    try:
        with files.open_read(path) as stream:
            text |= _dialect(stream.read(_HEAD), with_header=header == "infer" and names is None)
        with files.open_read(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Without index_col a field too many in the first row shifts every column.
            table = pd.read_csv(stream, header=header, names=names, index_col=False, **text)
        if names is None and header == "infer":
            with files.open_read(path) as stream:  # Above, a doubled name gets a number.
                table.columns = pd.read_csv(stream, header=None, nrows=1, **text).loc[0].tolist()
    except OSError as error:
        kind = NotFoundError if isinstance(error, FileNotFoundError) else DataError
        raise kind(f"Cannot read {path}", str(error)) from error
    except pd.errors.ParserWarning as error:
        raise DataError(
            f"{path} has a first row with more fields than there are columns",
            "Put fields with commas in quotes, or name the columns.",
        ) from error
    except (TypeError, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is no CSV file that can be read", str(error)) from error
    table = check_table(table.drop(columns=DIGEST, errors="ignore"), schema, source=path)
    for column in Schema(schema).columns(ImageUri):
        table[column] = _photo_paths(table[column], path)
    return table


def _dialect(head: bytes, *, with_header: bool) -> dict[str, str]:
    """The encoding by its byte order mark, and the separator by the header."""
    utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if utf16 else "utf-8"
    first = head.decode(encoding, "replace").partition("\n")[0]
    sep = next((sep for sep in ",;\t" if sep in first), ",") if with_header else ","
    return {"encoding": encoding, "sep": sep}


def _photo_paths(uris: pd.Series, source: str) -> pd.Series:
    """The photos' paths, as this machine finds them."""
    web = uris[uris.str.match("(?i)(https?|ftp)://")]
    if len(web):
        fix = "Photos are read from local paths and gs://bucket/name: download these first."
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
    # A path that is found nowhere stays as it is: conversion lists it.
    return next((p for p in dict.fromkeys([path, slashes, *beside]) if os.path.exists(p)), path)


def image_csv(table: pd.DataFrame) -> bytes:
    """An Image CSV that `read_csv` reads back as it is, whatever characters paths and labels have.

    Line ends are those of RFC 4180: with a plain line feed, Python's csv module leaves a carriage
    return in a field unquoted, and it would read as the end of the row.
    """
    columns = ["split", "image_uri", "label"]
    text = table.to_csv(columns=columns, index=False, lineterminator="\r\n")
    return text.encode("utf-8", "surrogateescape")


def check_table(
    table: pd.DataFrame,
    schema: Mapping[str, ColumnType] = IMAGE_CSV_SCHEMA,
    *,
    source: str = "the table",
) -> pd.DataFrame:
    """A clean copy of a table: the schema's columns, typed, with texts and labels stripped.

    Args:
        table: One row a record.
        schema: What the columns are.
        source: What messages call the table.

    Returns:
        The schema's columns in its order, and `DIGEST` where the table has it. Splits are upper
        case; an unknown one is kept, to be listed as discarded.

    Raises:
        DataError: A missing or doubled column, no rows, an empty or missing value, or a value that
            is no number where one is due; rows are counted from 1, the header not counted.
    """
    schema = Schema(schema)
    table = table.rename(columns=lambda name: str(name).strip())
    if missing := [column for column in schema if column not in table.columns]:
        raise MissingError(
            f"{source} lacks {_plural('column', missing)} {listing(missing)}",
            f"Found: {listing(table.columns, 20)}.",
            f"Expected, in any order: {', '.join(schema)}.",
        )
    if doubled := [c for c in schema if list(table.columns).count(c) > 1]:
        raise DataError(f"{source} has the column {doubled[0]!r} more than once")
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
    """Refuses a table that cannot train and judge a classifier.

    Args:
        table: As `scan` and `read_csv` give it, with columns split and label.
        needed: The splits that must have photos of every label.
        source: What messages call the table.

    Raises:
        DataError: Fewer than two labels, or a label without photos in a needed split.
    """
    counts = pd.crosstab(table["label"], table["split"])
    if len(counts) < 2:
        raise DataError(
            f"Fewer than two labels in {source}: {listing(counts.index)}",
            "A classifier needs two labels or more.",
        )
    for split in needed:
        have = counts[split] if split in counts else counts.iloc[:, 0] * 0
        if lacking := list(have.index[have == 0]):
            raise DataError(
                f"No {split} photos of {listing(lacking)} in {source}",
                f"Every label needs photos in {', '.join(needed)}.",
            )


def vocabulary(labels: pd.Series) -> list[str]:
    """The labels in the order of their index: most frequent first, ties in reverse text order.

    TensorFlow Transform's order, and so TFRecorder's.
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
        fix = "Zero bytes and halves of surrogate pairs can be stored nowhere."
        raise _bad_values(source, column, text[odd], fix)
    return text


def _is_storable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _whole_number(text: str) -> int | None:
    """The number, digit by digit: a float has too few of them for 64 bits."""
    try:
        number = Decimal(text)
        whole = number.is_finite() and number.adjusted() < 19 and int(number) == number
    except InvalidOperation:
        return None
    return int(number) if whole and int(number) in _INT64 and "_" not in text else None


def _numbers(text: pd.Series) -> pd.Series:
    """The numbers as the records have them; what does not fit into 32 bits is none."""
    with np.errstate(over="ignore"):
        number = pd.to_numeric(text, errors="coerce").astype("float32")
    return number.where(np.isfinite(number))


def _bad_values(source: str, column: str, bad: pd.Series, fix: str) -> DataError:
    rows = ", ".join(f"row {index + 1}: {value!r}" for index, value in bad.head(5).items())
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    what = "empty values" if (bad.str.strip() == "").all() else "values that do not fit"
    return DataError(f"{source} has {what} in column {column!r}", f"{rows}{more}.", fix)


def _note_splits(splits: pd.Series, given: pd.Series, source: str) -> None:
    spelled = given.map(str).str.strip().reset_index(drop=True)
    if lower := sorted(set(spelled[splits.isin(SPLITS)]) - set(SPLITS)):
        LOG.info("%s: splits %s taken as upper case", source, listing(lower))
    unknown = spelled[~splits.isin([*SPLITS, DISCARD])].value_counts()
    if len(unknown):
        LOG.warning(
            "%s: rows with an unknown split are discarded: %s. Known: %s",
            source,
            ", ".join(f"{name!r} ({count} rows)" for name, count in unknown.head(5).items()),
            ", ".join([*SPLITS, DISCARD]),
        )


def _plural(noun: str, items: Sequence) -> str:
    return noun if len(items) == 1 else f"{noun}s"
