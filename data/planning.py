"""Planning a conversion: which rows go into which shard, with their labels as indices.

The plan depends on the table and the options alone, never on the machine, so equal photos and
options give equal shards.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from data import files
from data.input_schema import Schema
from data.photos import EncodeOptions
from data.plan import FORMAT_VERSION, Plan
from data.records import DISCARD, SPLITS
from data.table import vocabulary
from data.types import StringLabel

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
    """Plans the conversion of a clean table (see `data.table.check_table`).

    Args:
        table: The rows, in the order the records will have within their split.
        schema: What the columns are.
        options: How photos are encoded.
        gzip: Whether shards are compressed.
        num_shards: Shards of each split; 0 chooses by its number of rows.
        source: What the manifest names as the origin.
    """
    split_column, uri_column = schema.split_key, schema.image_uri_key
    label_column = schema.label_key
    train = table[table[split_column] == SPLITS[0]]
    vocabularies = {c: vocabulary(train[c]) for c in schema.columns(StringLabel)}

    encoded = table[[c for c in schema if c != uri_column]].copy()
    for column, words in vocabularies.items():
        index = {word: number for number, word in enumerate(words)}
        encoded[column] = table[column].map(lambda word, index=index: index.get(word, _UNSEEN))
    names = table[label_column].map(str) if label_column else pd.Series("", table.index)
    uris = table[uri_column] if uri_column else pd.Series([None] * len(table), table.index, object)
    rows = [
        [number + 1, uri, name, features]
        for number, uri, name, features in zip(
            table.index, uris, names, encoded.to_dict("records"), strict=True
        )
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
    contents = table["sha256"] if "sha256" in table else uris.map(_stamp)
    shape = [FORMAT_VERSION, asdict(replace(plan, source="")), list(contents)]
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()
    return replace(plan, digest=digest)


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
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
