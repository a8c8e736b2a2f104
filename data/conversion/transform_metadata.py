"""The files from which TensorFlow Transform reads records: schema, graph and vocabularies."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from google.protobuf import text_format
from google.protobuf.text_encoding import CEscape

from data.conversion.plan import ConversionPlan
from data.conversion.transform_graph import ASSETS, transform_graph
from data.errors import DataError
from data.record.example_proto import message_class
from data.record.records import (
    IMAGE_CHANNELS,
    IMAGE_ENCODING,
    IMAGE_FEATURES,
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    JPEG,
)
from data.record.types import FloatInput, ImageUri, IntegerInput, IntegerLabel, StringLabel
from data.storage import files

# tensorflow_metadata/proto/v0/schema.proto
_Schema = message_class(
    "Schema",
    {
        "Schema": {"feature": (1, "*Feature")},
        "Feature": {"name": (1, "string"), "int_domain": (9, "IntDomain")},
        "IntDomain": {"min": (3, "int64"), "max": (4, "int64")},
    },
)
_SCHEMA_FILE = "transformed_metadata/schema.pbtxt"
_INT_FEATURES = (IMAGE_CHANNELS, IMAGE_HEIGHT, IMAGE_WIDTH)


def write_metadata(plan: ConversionPlan, folder: str) -> None:
    """Writes `transformed_metadata/schema.pbtxt` and `transform_fn/` (graph and vocabularies).

    Raises:
        DataError: Labels that differ only in their line breaks.
    """
    features = record_features(plan)
    schema = "".join(
        _feature_text(name, kind, plan.vocabularies.get(name))
        for name, kind in sorted(features.items())
    )
    _write(folder, _SCHEMA_FILE, schema.encode())
    assets = {name: vocabulary_file(number) for number, name in enumerate(plan.vocabularies)}
    for name, file in assets.items():
        lines = vocabulary_lines(plan.vocabularies[name], name)
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
        _write(folder, f"transform_fn/{ASSETS}/{file}", text)
    _write(folder, "transform_fn/saved_model.pb", transform_graph(features, assets))


def read_vocabularies(folder: str) -> list[tuple[str, ...]]:
    """Reads the vocabulary files of a folder: the labels of each in index order."""
    found: list[tuple[str, ...]] = []
    while files.exists(
        path := files.join(folder, "transform_fn", ASSETS, vocabulary_file(len(found)))
    ):
        found.append(tuple(os.fsdecode(line) for line in files.read(path).splitlines() if line))
    return found


def read_vocabulary(folder: str, column: str) -> tuple[str, ...]:
    """Reads the labels of a column in index order from the vocabulary files of a folder.

    TensorFlow Transform numbers these files and does not name their columns. With several files,
    the number of labels in the schema identifies the one of the column.

    Returns:
        The labels; empty if the labels of the column are numbers, or the folder has no vocabulary.

    Raises:
        DataError: No vocabulary has the number of labels in the schema, or several have.
    """
    found = read_vocabularies(folder)
    schema = files.join(folder, _SCHEMA_FILE)
    if not found or not files.exists(schema):
        if len(found) > 1:
            raise DataError(
                f"{folder} has {len(found)} vocabularies and no {_SCHEMA_FILE}",
                "Convert the photos again.",
            )
        return found[0] if found else ()
    parsed = text_format.Parse(files.read(schema), _Schema(), allow_unknown_field=True)
    domains = {f.name: f.int_domain for f in parsed.feature if f.HasField("int_domain")}
    if column not in domains:
        return ()  # whole numbers, which have no vocabulary
    fitting = {words for words in found if len(words) == domains[column].max + 1}
    if len(fitting) != 1:
        sizes = ", ".join(str(len(words)) for words in found)
        raise DataError(
            f"{folder}: {len(fitting)} vocabularies match the column {column!r}",
            f"It has {domains[column].max + 1} labels in {_SCHEMA_FILE}; the vocabularies have "
            f"{sizes}.",
            "Convert again with one StringLabel column, named label; declare others StringInput.",
        )
    return fitting.pop()


def vocabulary_lines(words: Sequence[str], column: str) -> list[str]:
    """Returns the lines of a vocabulary file, one per label.

    Line breaks within a label, as TensorFlow defines them, become spaces. The manifest keeps the
    label unchanged.

    Raises:
        DataError: Labels that differ only in their line breaks; TensorFlow could not load the file.
    """
    lines: dict[str, str] = {}
    for word in words:
        line = re.sub(r"[\r\n]+", " ", word)
        if line in lines:
            raise DataError(
                f"Labels in column {column!r} differ only in their line breaks",
                f"{lines[line]!r} and {word!r} would be the same line of the vocabulary file.",
                "Rename one of them.",
            )
        lines[line] = word
    return list(lines)


def vocabulary_file(number: int) -> str:
    """Returns the file name of a vocabulary by its number, as in TensorFlow Transform."""
    middle = f"_{number}" if number else ""
    return f"vocab_compute_and_apply_vocabulary{middle}_vocabulary"


def record_features(plan: ConversionPlan) -> dict[str, str]:
    """Returns feature name to type in the records: BYTES, INT or FLOAT."""
    types: dict[str, str] = {}
    for column, kind in plan.schema.items():
        if kind == ImageUri.name:
            types |= {name: "INT" if name in _INT_FEATURES else "BYTES" for name in IMAGE_FEATURES}
            if plan.options["encoding"] == JPEG:
                types[IMAGE_ENCODING] = "BYTES"
        elif kind in (IntegerInput.name, IntegerLabel.name, StringLabel.name):
            types[column] = "INT"
        else:
            types[column] = "FLOAT" if kind == FloatInput.name else "BYTES"
    return types


def _feature_text(name: str, kind: str, words: list[str] | None) -> str:
    domain = ""
    if words is not None:
        domain = (
            "  int_domain {\n    min: -1\n"
            f"    max: {len(words) - 1}\n    is_categorical: true\n  }}\n"
        )
    escaped = CEscape(name.encode(), as_utf8=False)
    return (
        f'feature {{\n  name: "{escaped}"\n  type: {kind}\n{domain}'
        "  presence {\n    min_fraction: 1.0\n  }\n  shape {\n  }\n}\n"
    )


def _write(folder: str, name: str, content: bytes) -> None:
    path = files.join(folder, *name.split("/"))
    files.write(path, content)
