"""What a column of a table holds, in TFRecorder's terms."""

from __future__ import annotations

from enum import Enum

from data.record.records import DISCARD, SPLITS


class ColumnType(Enum):
    """The type of a column; the value is what messages call it."""

    SplitKey = "split key"
    ImageUri = "image path or URI"
    IntegerInput = "whole number"
    FloatInput = "number"
    StringInput = "text"
    IntegerLabel = "whole-number label"
    StringLabel = "text label"

    @property
    def allowed_values(self) -> list[str]:
        """What a cell of the column may be; empty where the type says it all."""
        return [*SPLITS, DISCARD] if self is ColumnType.SplitKey else []


SplitKey = ColumnType.SplitKey
ImageUri = ColumnType.ImageUri
IntegerInput = ColumnType.IntegerInput
FloatInput = ColumnType.FloatInput
StringInput = ColumnType.StringInput
IntegerLabel = ColumnType.IntegerLabel
StringLabel = ColumnType.StringLabel
