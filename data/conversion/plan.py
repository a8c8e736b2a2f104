"""The plan of a conversion and the reports about its shards. Light to import, for workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from data.errors import DiscardedRow

FORMAT_VERSION = 1
"""Version of the folder format that a conversion writes."""

Cell = str | int | float
"""The value of a column in a row."""

ShardRow = tuple[int, str | None, str, Sequence[Cell], str]
"""Row number from 1, photo (None without one), label, values of the columns, digest or ""."""


class ShardJob(TypedDict):
    """A shard to write. It is JSON-serializable; tuples become lists.

    Attributes:
        file: Name of the shard.
        split: TRAIN, VALIDATION or TEST.
        gzip: Whether to compress it.
        options: Arguments of `data.record.photos.EncodeOptions`.
        columns: Names of the columns in the rows.
        rows: The rows in order.
    """

    file: str
    split: str
    gzip: bool
    options: dict[str, Any]
    columns: list[str]
    rows: list[ShardRow]


class ShardEntry(TypedDict):
    """A finished shard, as the manifest lists it.

    Attributes:
        file: Name of the shard.
        split: TRAIN, VALIDATION or TEST.
        records: Number of records.
        bytes: Size of the file.
        sha256: SHA-256 of the file, hexadecimal.
    """

    file: str
    split: str
    records: int
    bytes: int
    sha256: str


class ShardReport(ShardEntry):
    """The result of writing a shard.

    Attributes:
        counts: Label to number of records.
        discarded: The rows whose photos are bad.
        blank: Path and label of each photo that is nearly all black or white.
    """

    counts: dict[str, int]
    discarded: list[DiscardedRow]
    blank: list[tuple[str, str]]


@dataclass(frozen=True)
class ConversionPlan:
    """The work of a conversion.

    Attributes:
        shards: The shards to write, in order.
        refused: Rows that are in no shard.
        rows: Number of rows in the table.
        schema: Column name to the name of its type.
        label_column: The label column to train on, whose values are counted; None without one.
        vocabularies: StringLabel column to its labels in index order.
        options: The options that determine the records.
        source: The origin of the rows, for the manifest.
        digest: SHA-256 of everything that determines the shards.
    """

    shards: list[ShardJob]
    refused: list[DiscardedRow]
    rows: int
    schema: dict[str, str]
    label_column: str | None
    vocabularies: dict[str, list[str]]
    options: dict[str, Any]
    source: str
    digest: str = ""

    def without_shards(self) -> ConversionPlan:
        """Returns a copy without the shards, whose rows can be many."""
        return replace(self, shards=[])
