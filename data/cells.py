"""Cells of the CSV files that people open in a spreadsheet."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def text_cell(value):
    """The value, with an apostrophe before text that a spreadsheet would run as a formula.

    File names and labels are whatever somebody called them. Numbers stay as they are. Image CSVs,
    which `data.read_csv` reads again, do not use this: there a name is a name.
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
