"""What a column of a table holds, in TFRecorder's terms."""

from __future__ import annotations

from enum import Enum


class ColumnType(Enum):
    """The type of a column; the value is what messages call it."""

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
