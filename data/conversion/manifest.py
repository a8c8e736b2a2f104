"""`manifest.json`: the content of a folder of records. Written last, so it marks a complete one."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, TypedDict

from data.conversion.plan import FORMAT_VERSION, ConversionPlan, ShardEntry, ShardReport
from data.errors import DataError, DiscardedRow
from data.record.records import IMAGE_ENCODING, IMAGE_FEATURES, JPEG, SPLITS
from data.record.types import ImageUri, IntegerLabel
from data.storage import files
from data.storage.csv_cells import escape_formula

MANIFEST = "manifest.json"
DISCARDED = "discarded.csv"
FORMAT = "pawprint-records"

_MOST_CLASSES = 10_000
_LIBRARIES = ("pillow", "numpy", "protobuf", "google-crc32c")  # that determine the records


class Manifest(TypedDict):
    """The content of `manifest.json`.

    Attributes:
        format: `FORMAT`.
        format_version: `data.conversion.plan.FORMAT_VERSION`.
        encoding: `raw` or `jpeg`; None for records without an image.
        features: Names of the features in the records, sorted.
        labels: Labels in index order.
        vocabularies: StringLabel column to its labels in index order.
        counts: Split (lower case) to label to number of records.
        shards: The shards in order.
        rows: Number of rows in the table.
        discarded: Number of rows that did not become records.
        source: The origin of the rows.
        schema: Column name to the name of its type.
        options: The options of the conversion.
        plan: Digest of everything that determines the shards.
        libraries: Versions of Python and of the libraries that determine the records.
    """

    format: str
    format_version: int
    encoding: str | None
    features: list[str]
    labels: list[str]
    vocabularies: dict[str, list[str]]
    counts: dict[str, dict[str, int]]
    shards: list[ShardEntry]
    rows: int
    discarded: int
    source: str
    schema: dict[str, str]
    options: dict[str, Any]
    plan: str
    libraries: dict[str, str]


def make_manifest(plan: ConversionPlan, reports: list[ShardReport]) -> Manifest:
    """Creates the manifest of a finished conversion."""
    reports = sorted(reports, key=lambda report: (SPLITS.index(report["split"]), report["file"]))
    counts: dict[str, Counter[str]] = {}
    for report in reports:
        if report["records"]:
            counts.setdefault(report["split"].lower(), Counter()).update(report["counts"])
    labels = _labels(plan, counts)
    ranked = {label: number for number, label in enumerate(labels)}
    has_image = ImageUri.name in plan.schema.values()
    encoding = plan.options["encoding"]
    features = [name for name, kind in plan.schema.items() if kind != ImageUri.name]
    features += [*IMAGE_FEATURES, *([IMAGE_ENCODING] if encoding == JPEG else [])] * has_image
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "encoding": encoding if has_image else None,
        "features": sorted(features),
        "labels": labels,
        "vocabularies": plan.vocabularies,
        "counts": {
            split: {
                label: count[label]
                for label in sorted(
                    count, key=lambda label: (ranked.get(label, len(ranked)), label)
                )
            }
            for split, count in counts.items()
        },
        "shards": [
            ShardEntry(
                file=report["file"],
                split=report["split"],
                records=report["records"],
                bytes=report["bytes"],
                sha256=report["sha256"],
            )
            for report in reports
        ],
        "rows": plan.rows,
        "discarded": len(plan.refused) + sum(len(report["discarded"]) for report in reports),
        "source": plan.source,
        "schema": plan.schema,
        "options": plan.options,
        "plan": plan.digest,
        "libraries": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in _LIBRARIES},
    }


def discarded_rows(plan: ConversionPlan, reports: list[ShardReport]) -> list[DiscardedRow]:
    """Returns every row that did not become a record, sorted by row number."""
    rows = plan.refused + [row for report in reports for row in report["discarded"]]
    return sorted(rows, key=lambda row: row["row"])


def discarded_csv(rows: Iterable[Mapping[str, object]]) -> bytes:
    """Formats rows with the keys of `data.errors.DiscardedRow` as `discarded.csv`.

    Lines end as in RFC 4180, for the reason in `data.sources.table.image_csv`.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, DiscardedRow.__annotations__, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: escape_formula(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def dump(content: Mapping[str, Any]) -> bytes:
    """Formats JSON for a file."""
    return (json.dumps(content, indent=1) + "\n").encode()


def read_manifest(folder: str) -> Manifest | None:
    """Reads the manifest of a folder; None without one.

    Raises:
        DataError: The file is not a manifest of this format, or of a later version.
    """
    path = files.join(folder, MANIFEST)
    if not files.exists(path):
        return None
    try:
        manifest: Manifest = json.loads(files.read(path))
        known = manifest["format"] == FORMAT and isinstance(manifest["format_version"], int)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise DataError(f"{path} is not a manifest of records", "Convert the photos again.")
    if manifest["format_version"] > FORMAT_VERSION:
        raise DataError(
            f"{path} has format version {manifest['format_version']}",
            f"Expected at most {FORMAT_VERSION}: update pawprint.",
        )
    return manifest


def number_labels(found: Iterable[int]) -> list[str]:
    """Returns the names of whole-number labels, given the numbers in the records.

    The position of a label is its index, so all numbers from 0 are listed if a classifier can have
    that many classes; else only those that occur.
    """
    numbers = sorted({number for number in found if number >= 0})
    if numbers and numbers[-1] < _MOST_CLASSES:
        numbers = list(range(numbers[-1] + 1))
    return [str(number) for number in numbers]


def _labels(plan: ConversionPlan, counts: dict[str, Counter[str]]) -> list[str]:
    if plan.label_column is None:
        return []
    if plan.schema[plan.label_column] != IntegerLabel.name:
        return plan.vocabularies[plan.label_column]
    return number_labels(int(label) for count in counts.values() for label in count)
