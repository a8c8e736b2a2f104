"""Errors that a user of `data` can cause, of the built-in classes that TFRecorder raised too."""

from __future__ import annotations


class DataError(ValueError):
    """Something in the user's photos, table, records or options is wrong.

    The text is a one-line headline, then details: what was received, where (file, row, column)
    and what to do about it.

    Args:
        headline: What is wrong, in one line.
        *details: Further lines; empty ones are left out.
        discarded: The rows refused so far, where the error is about too many of them
            (dicts with the columns of `discarded.csv`).
    """

    def __init__(self, headline: str, *details: str, discarded: list[dict] | None = None):
        super().__init__("\n  ".join([headline, *(line for line in details if line)]))
        self.headline = headline
        self.discarded = discarded or []

    __str__ = ValueError.__str__  # KeyError, which a subclass is, would quote the text


class MissingError(DataError, AttributeError, KeyError):
    """A schema, table or call lacks a column, a split, a runner or an option.

    An AttributeError and a KeyError too, which TFRecorder raised.
    """


class NotFoundError(DataError, FileNotFoundError):
    """A file, a folder or its records do not exist."""


def listing(items, limit: int = 5) -> str:
    """The first `limit` items, quoted, and how many more there are."""
    items = list(items)
    shown = ", ".join(repr(item) for item in items[:limit])
    more = len(items) - limit
    return f"{shown} and {more} more" if more > 0 else shown
