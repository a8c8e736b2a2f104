"""Cells of the CSV files that people open in a spreadsheet."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def escape_formula(value):
    """Puts an apostrophe before text that a spreadsheet would run as a formula.

    Numbers do not change. Image CSVs are not escaped, since `data.read_csv` reads them again.
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
