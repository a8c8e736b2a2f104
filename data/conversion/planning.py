"""Planning a conversion: which rows go into which shard, with their labels as indices.

The plan depends on the table and the options alone, never on the machine, so equal photos and
options give equal shards.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import PIL

from data.conversion.plan import FORMAT_VERSION, Plan
from data.conversion.transform_metadata import vocabulary_lines
from data.record.input_schema import Schema
from data.record.photos import EncodeOptions
from data.record.records import DISCARD, SPLITS
from data.record.types import StringLabel
from data.sources.table import DIGEST, vocabulary
from data.storage import files

ROWS_PER_SHARD = 512
"""About 50 MB of photos of 100 KB: little is lost when killed, and files stay large enough."""

_SMALLEST_SHARD = 64
_SPREAD = 4  # shards a small split is cut into, so that several workers share it
_UNSEEN = -1  # the index of a label that TRAIN does not have, as in TensorFlow Transform


def make_plan(
    table: pd.DataFrame,
    schema: Schema,
    options: EncodeOptions,
    *,
    gzip: bool,
    num_shards: int = 0,
    source: str = "",
) -> Plan:
    """Plans the conversion of a clean table (see `data.sources.table.check_table`).

    Args:
        table: The rows, in the order the records will have within their split.
        schema: What the columns are.
        options: How photos are encoded.
        gzip: Whether shards are compressed.
        num_shards: Shards of each split; 0 chooses by its number of rows.
        source: What the manifest names as the origin.

    Raises:
        DataError: Labels that would be one line of a vocabulary file.
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
    rows = [
        [number, *row]
        for number, row in enumerate(zip(uris, labels, values, digests, strict=True), start=1)
    ]
    shards = []
    for split in SPLITS:
        own = [rows[number] for number in table.index[table[split_column] == split]]
        for file, part in _cut(split, own, gzip, num_shards):
            shards.append(
                {
                    "file": file,
                    "split": split,
                    "gzip": gzip,
                    "options": asdict(options),
                    "columns": [*columns],
                    "rows": part,
                }
            )
    refused = [
        {
            "path": uris[number] or "",
            "row": number + 1,
            "reason": "split DISCARD" if split == DISCARD else f"unknown split {split!r}",
            "exception": "",
        }
        for number, split in table[split_column][~table[split_column].isin(SPLITS)].items()
    ]
    plan = Plan(
        shards=shards,
        refused=refused,
        rows=len(table),
        schema=schema.type_names(),
        label_column=label_column,
        vocabularies=vocabularies,
        options=asdict(options) | {"gzip": gzip, "num_shards": num_shards},
        source=source,
    )
    contents = () if DIGEST in table else map(_stamp, uris)
    return replace(plan, digest=_digest(plan, contents))


def _digest(plan: Plan, contents: Iterable) -> str:
    """SHA-256 of all that shapes the shards; row by row, as there can be many."""
    digest = hashlib.sha256()

    def add(part) -> None:
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\n")

    # Another Pillow can decode to other pixels, and encodes to other bytes.
    add([FORMAT_VERSION, PIL.__version__, plan.schema, plan.vocabularies, plan.options])
    for job in plan.shards:
        add([job["file"], job["columns"], len(job["rows"])])
        for row in job["rows"]:
            add(row)
    for part in itertools.chain(plan.refused, contents):
        add(part)
    return digest.hexdigest()


def _cut(split: str, rows: list, gzip: bool, num_shards: int) -> list[tuple[str, list]]:
    if not rows:
        return []
    count = num_shards or max(
        -(-len(rows) // ROWS_PER_SHARD), min(_SPREAD, len(rows) // _SMALLEST_SHARD), 1
    )
    suffix = ".tfrecord.gz" if gzip else ".tfrecord"
    bounds = [len(rows) * number // count for number in range(count + 1)]
    return [
        (f"{split.lower()}-{number:05d}-of-{count:05d}{suffix}", rows[start:end])
        for number, (start, end) in enumerate(itertools.pairwise(bounds))
    ]


def _stamp(uri: str | None) -> list | None:
    """Size and change time of a local photo, which tell whether a shard of it is still right."""
    if uri is None or files.is_remote(uri):
        return None
    try:
        status = Path(uri).stat()
    except (OSError, ValueError):  # the latter of what can be no path
        return None
    return [status.st_size, status.st_mtime_ns]
