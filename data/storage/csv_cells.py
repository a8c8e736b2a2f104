"""Cells of CSV files that users open in a spreadsheet."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def escape_formula(value: object) -> object:
    """Puts an apostrophe before text that a spreadsheet would run as a formula.

    Numbers are returned unchanged. Image CSVs are not escaped, because `data.read_csv` reads them.
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
