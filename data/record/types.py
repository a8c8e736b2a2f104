"""The types of a table's columns, named as in TFRecorder."""

from __future__ import annotations

from enum import Enum

from data.record.records import DISCARD, SPLITS


class ColumnType(Enum):
    """The type of a column; the value is its name in messages."""

    SplitKey = "split key"
    ImageUri = "image path or URI"
    IntegerInput = "whole number"
    FloatInput = "number"
    StringInput = "text"
    IntegerLabel = "whole-number label"
    StringLabel = "text label"

    @property
    def allowed_values(self) -> list[str]:
        """The allowed values of a cell; empty if any value of the type is."""
        return [*SPLITS, DISCARD] if self is ColumnType.SplitKey else []


SplitKey = ColumnType.SplitKey
ImageUri = ColumnType.ImageUri
IntegerInput = ColumnType.IntegerInput
FloatInput = ColumnType.FloatInput
StringInput = ColumnType.StringInput
IntegerLabel = ColumnType.IntegerLabel
StringLabel = ColumnType.StringLabel
