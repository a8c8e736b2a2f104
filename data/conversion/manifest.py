"""`manifest.json`: what a folder of records holds. Written last: a folder that has it is whole."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections import Counter
from collections.abc import Iterable
from importlib import metadata

from data.conversion.plan import FORMAT_VERSION, Plan
from data.errors import DataError
from data.record.records import IMAGE_ENCODING, IMAGE_FEATURES, JPEG, SPLITS
from data.record.types import ImageUri, IntegerLabel
from data.storage import files
from data.storage.csv_cells import escape_formula

MANIFEST = "manifest.json"
DISCARDED = "discarded.csv"
FORMAT = "pawprint-records"
DISCARDED_COLUMNS = ("path", "row", "reason", "exception")

_MOST_CLASSES = 10_000
_LIBRARIES = ("pillow", "numpy", "protobuf", "google-crc32c")  # that shape the records


def make_manifest(plan: Plan, reports: list[dict]) -> dict:
    """The manifest of a finished conversion.

    Returns:
        format and format_version; encoding; features (names in the records); labels (in index
        order) and vocabularies (of every text label column); counts ({split: {label: records}},
        splits in lower case); shards (file, split, records, bytes, sha256); rows and discarded
        (numbers); source, schema, options; plan (digest of all that shapes the shards); libraries
        (versions).
    """
    reports = sorted(reports, key=lambda report: (SPLITS.index(report["split"]), report["file"]))
    counts: dict[str, Counter] = {}
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
            {key: report[key] for key in ("file", "split", "records", "bytes", "sha256")}
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


def discarded_rows(plan: Plan, reports: list[dict]) -> list[dict]:
    """Every row that became no record, in the order of the rows."""
    rows = plan.refused + [row for report in reports for row in report["discarded"]]
    return sorted(rows, key=lambda row: row["row"])


def discarded_csv(rows: list[dict]) -> bytes:
    """The text of `discarded.csv`: path, row (counting from 1), reason, exception.

    Line ends are those of RFC 4180, for the reason that `data.sources.table.image_csv` gives.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, DISCARDED_COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: escape_formula(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def dump(content: dict) -> bytes:
    """JSON as it stands in files."""
    return (json.dumps(content, indent=1) + "\n").encode()


def read_manifest(folder: str) -> dict | None:
    """The manifest of a folder, None where it has none.

    Raises:
        DataError: It is no manifest of this format, or of a later version.
    """
    path = files.join(folder, MANIFEST)
    if not files.exists(path):
        return None
    try:
        manifest = json.loads(files.read(path))
        known = manifest["format"] == FORMAT and isinstance(manifest["format_version"], int)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise DataError(f"{path} is no manifest of converted records", "Convert the photos again.")
    if manifest["format_version"] > FORMAT_VERSION:
        raise DataError(
            f"{path} has format version {manifest['format_version']}",
            f"This version reads {FORMAT_VERSION} and below: update pawprint.",
        )
    return manifest


def number_labels(found: Iterable[int]) -> list[str]:
    """The names of whole-number labels, for the numbers that were found.

    A label's place is its index, so all from 0 on are listed, as long as a classifier can have that
    many classes; else only those that occur.
    """
    numbers = sorted({number for number in found if number >= 0})
    if numbers and numbers[-1] < _MOST_CLASSES:
        numbers = range(numbers[-1] + 1)
    return [str(number) for number in numbers]


def _labels(plan: Plan, counts: dict[str, Counter]) -> list[str]:
    if plan.label_column is None:
        return []
    if plan.schema[plan.label_column] != IntegerLabel.name:
        return plan.vocabularies[plan.label_column]
    return number_labels(int(label) for count in counts.values() for label in count)
