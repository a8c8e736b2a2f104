"""The columns of a table and what each becomes in the record, in TFRecorder's terms."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from data.errors import DataError


class ColumnType(Enum):
    """What a column holds."""

    SplitKey = "split key"
    ImageUri = "image path or URI"
    IntegerInput = "whole number"
    FloatInput = "number"
    StringInput = "text"
    IntegerLabel = "whole-number label"
    StringLabel = "text label"


SplitKey = ColumnType.SplitKey
ImageUri = ColumnType.ImageUri
IntegerInput = ColumnType.IntegerInput
FloatInput = ColumnType.FloatInput
StringInput = ColumnType.StringInput
IntegerLabel = ColumnType.IntegerLabel
StringLabel = ColumnType.StringLabel

IMAGE_CSV_SCHEMA: Mapping[str, ColumnType] = {
    "split": SplitKey,
    "image_uri": ImageUri,
    "label": StringLabel,
}
"""TFRecorder's Image CSV: which split, where the photo is, what it shows."""


def check_schema(schema: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
    """The schema as a dict, once it is known to make sense.

    Raises:
        DataError: A type that is none, no split key, or two image columns.
    """
    schema = dict(schema)
    for column, kind in schema.items():
        if not isinstance(kind, ColumnType):
            raise DataError(
                f"Unknown type of column {column!r} in the schema: {kind!r}",
                f"Allowed: {', '.join(kind.name for kind in ColumnType)}.",
            )
    if len(columns_of(schema, SplitKey)) != 1:
        raise DataError(
            "The schema needs exactly one SplitKey column",
            f"Received: {schema_text(schema)}",
        )
    if len(columns_of(schema, ImageUri)) > 1:
        raise DataError(
            "The schema can have one ImageUri column", f"Received: {schema_text(schema)}"
        )
    return schema


def columns_of(schema: Mapping[str, ColumnType], *kinds: ColumnType) -> list[str]:
    """The names of the columns of the given types, in order."""
    return [column for column, kind in schema.items() if kind in kinds]


def schema_text(schema: Mapping[str, ColumnType]) -> dict[str, str]:
    """The schema with the types' names, as the manifest keeps it."""
    return {
        column: kind.name if isinstance(kind, ColumnType) else repr(kind)
        for column, kind in schema.items()
    }
