"""Errors that a user of `data` can cause, of the same built-in classes as TFRecorder's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict


class DiscardedRow(TypedDict):
    """A row that did not become a record; the keys are the columns of `discarded.csv`.

    Attributes:
        path: Path or URI of the photo; empty for rows without one.
        row: Number of the row in the table, counting from 1.
        reason: Why it was discarded, for the user.
        exception: Type and text of the exception behind it; empty without one.
    """

    path: str
    row: int
    reason: str
    exception: str


class DataError(ValueError):
    """Something in the user's photos, table, records or options is wrong.

    The text is a one-line headline, then details: what was received, where (file, row, column)
    and what to do about it.

    Args:
        headline: What is wrong, in one line.
        *details: Further lines; empty ones are left out.
        discarded: The rows discarded so far, for an error about too many of them.
    """

    def __init__(
        self, headline: str, *details: str, discarded: Sequence[DiscardedRow] | None = None
    ):
        super().__init__("\n  ".join([headline, *(line for line in details if line)]))
        self.headline = headline
        self.discarded = list(discarded or ())

    __str__ = ValueError.__str__  # KeyError, a base of MissingError, would quote the text


class MissingError(DataError, AttributeError, KeyError):
    """A schema, table or call lacks a column, a split, a runner or an option.

    Also an AttributeError and a KeyError, as in TFRecorder.
    """


class NotFoundError(DataError, FileNotFoundError):
    """A file, a folder or its records do not exist."""


def listing(items: Iterable[object], limit: int = 5) -> str:
    """Returns the first `limit` items, quoted, and the number of the others."""
    items = list(items)
    shown = ", ".join(repr(item) for item in items[:limit])
    more = len(items) - limit
    return f"{shown} and {more} more" if more > 0 else shown
