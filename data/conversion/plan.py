"""The plan of a conversion, as data. Light to import, for workers."""

from __future__ import annotations

from dataclasses import dataclass, replace

FORMAT_VERSION = 1
"""Of the folder that a conversion writes."""


@dataclass(frozen=True)
class Plan:
    """What a conversion will do.

    Attributes:
        shards: Jobs for `data.conversion.shard.write_shard`, JSON-able, in order.
        refused: Rows that no shard takes, as in `discarded.csv`.
        rows: Rows of the table.
        schema: Column name to the name of its type.
        label_column: The label column that is trained on, whose counts are kept; None without one.
        vocabularies: Labels in index order, for each StringLabel column.
        options: What shapes the records.
        source: Where the rows come from, for the manifest.
        digest: SHA-256 of all that shapes the shards.
    """

    shards: list[dict]
    refused: list[dict]
    rows: int
    schema: dict[str, str]
    label_column: str | None
    vocabularies: dict[str, list[str]]
    options: dict
    source: str
    digest: str = ""

    def without_shards(self) -> Plan:
        """All but the shards, whose rows can be many."""
        return replace(self, shards=[])
