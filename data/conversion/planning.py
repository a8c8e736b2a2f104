"""Plans a conversion: assigns rows to shards and replaces labels by indices.

The plan depends only on the table and the options, not on the machine, so equal photos and options
give equal shards.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, replace

import pandas as pd
import PIL

from data.conversion.plan import FORMAT_VERSION, ConversionPlan, ShardJob, ShardRow
from data.conversion.transform_metadata import vocabulary_lines
from data.errors import DiscardedRow
from data.record.input_schema import Schema
from data.record.photos import EncodeOptions
from data.record.records import DISCARD, SPLITS
from data.record.types import StringLabel
from data.sources.table import DIGEST, vocabulary
from data.storage import files

ROWS_PER_SHARD = 512
"""About 50 MB of photos of 100 KB: large enough to read fast, small enough to redo when killed."""

_SMALLEST_SHARD = 64
_FEW_SHARDS = 4  # shards of a small split, so that several workers share it
_UNSEEN = -1  # index of a label that is not in TRAIN, as in TensorFlow Transform


def make_plan(
    table: pd.DataFrame,
    schema: Schema,
    options: EncodeOptions,
    *,
    gzip: bool,
    num_shards: int = 0,
    source: str = "",
) -> ConversionPlan:
    """Plans the conversion of a table.

    Args:
        table: The rows as `data.sources.table.check_table` returns them, in the order of the
            records within their split.
        schema: Column name to type.
        options: How to encode photos.
        gzip: Whether to compress the shards.
        num_shards: Number of shards per split; 0 chooses it by the number of rows.
        source: The origin of the rows, for the manifest.

    Raises:
        DataError: Labels that differ only in their line breaks.
    """
    split_column, uri_column = schema.split_key, schema.image_uri_key
    label_column = schema.label_key
    train = table[table[split_column] == SPLITS[0]]
    vocabularies = {c: vocabulary(train[c]) for c in schema.columns(StringLabel)}
    for column, words in vocabularies.items():
        vocabulary_lines(words, column)

    columns = {c: table[c] for c in schema if c != uri_column}
    for column, words in vocabularies.items():
        index = {word: number for number, word in enumerate(words)}
        columns[column] = table[column].map(lambda word, index=index: index.get(word, _UNSEEN))
    labels = table[label_column].map(str) if label_column else [""] * len(table)
    uris = table[uri_column].tolist() if uri_column else [None] * len(table)
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    digests = table[DIGEST].tolist() if DIGEST in table else [""] * len(table)
    rows: list[ShardRow] = [
        (number, *row)
        for number, row in enumerate(zip(uris, labels, values, digests, strict=True), start=1)
    ]
    shards: list[ShardJob] = []
    for split in SPLITS:
        own = [rows[number] for number in table.index[table[split_column] == split]]
        for file, part in _divide(split, own, gzip, num_shards):
            shards.append(
                ShardJob(
                    file=file,
                    split=split,
                    gzip=gzip,
                    options=asdict(options),
                    columns=[*columns],
                    rows=part,
                )
            )
    refused = [
        DiscardedRow(
            path=uris[number] or "",
            row=number + 1,
            reason="split DISCARD" if split == DISCARD else f"unknown split {split!r}",
            exception="",
        )
        for number, split in table[split_column][~table[split_column].isin(SPLITS)].items()
    ]
    plan = ConversionPlan(
        shards=shards,
        refused=refused,
        rows=len(table),
        schema=schema.type_names(),
        label_column=label_column,
        vocabularies=vocabularies,
        options=asdict(options) | {"gzip": gzip, "num_shards": num_shards},
        source=source,
    )
    stamps = () if DIGEST in table else map(files.stamp, uris)
    return replace(plan, digest=_digest(plan, stamps))


def _digest(plan: ConversionPlan, stamps: Iterable[object]) -> str:
    """Computes the SHA-256 of everything that determines the shards, row by row."""
    digest = hashlib.sha256()

    def add(part: object) -> None:
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\n")

    # Another version of Pillow can decode to other pixels, and encode to other bytes.
    add([FORMAT_VERSION, PIL.__version__, plan.schema, plan.vocabularies, plan.options])
    for job in plan.shards:
        add([job["file"], job["columns"], len(job["rows"])])
        for row in job["rows"]:
            add(row)
    for part in itertools.chain(plan.refused, stamps):
        add(part)
    return digest.hexdigest()


def _divide(
    split: str, rows: list[ShardRow], gzip: bool, num_shards: int
) -> list[tuple[str, list[ShardRow]]]:
    """Divides the rows of a split into shards, by file name."""
    if not rows:
        return []
    count = num_shards or max(
        -(-len(rows) // ROWS_PER_SHARD), min(_FEW_SHARDS, len(rows) // _SMALLEST_SHARD), 1
    )
    suffix = ".tfrecord.gz" if gzip else ".tfrecord"
    bounds = [len(rows) * number // count for number in range(count + 1)]
    return [
        (f"{split.lower()}-{number:05d}-of-{count:05d}{suffix}", rows[start:end])
        for number, (start, end) in enumerate(itertools.pairwise(bounds))
    ]
