"""The files by which TensorFlow Transform reads the records: schema and vocabularies."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from google.protobuf import text_format
from google.protobuf.text_encoding import CEscape

from data.conversion.plan import Plan
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


def write_metadata(plan: Plan, folder: str) -> None:
    """Writes `transformed_metadata/schema.pbtxt` and `transform_fn/` (graph and vocabularies).

    Raises:
        DataError: Labels that would be one line of a vocabulary file.
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
    """The labels in each vocabulary file of a folder, in index order."""
    found = []
    while files.exists(
        path := files.join(folder, "transform_fn", ASSETS, vocabulary_file(len(found)))
    ):
        found.append(tuple(os.fsdecode(line) for line in files.read(path).splitlines() if line))
    return found


def read_vocabulary(folder: str, column: str) -> tuple[str, ...]:
    """The labels of a column in index order, as the folder's vocabulary files have them.

    TensorFlow Transform numbers the files and does not name their columns. Where there are several,
    the schema says how many labels the column has.

    Returns:
        The labels; none where those of the column are numbers, or there is no vocabulary at all.

    Raises:
        DataError: No vocabulary has as many labels as the schema says, or several have.
    """
    found = read_vocabularies(folder)
    schema = files.join(folder, _SCHEMA_FILE)
    if not found or not files.exists(schema):
        if len(found) > 1:
            raise DataError(f"{folder} has {len(found)} vocabularies and no {_SCHEMA_FILE}")
        return found[0] if found else ()
    parsed = text_format.Parse(files.read(schema), _Schema(), allow_unknown_field=True)
    domains = {f.name: f.int_domain for f in parsed.feature if f.HasField("int_domain")}
    if column not in domains:
        return ()  # whole numbers, which have no vocabulary
    fitting = {words for words in found if len(words) == domains[column].max + 1}
    if len(fitting) != 1:
        sizes = ", ".join(str(len(words)) for words in found)
        raise DataError(
            f"{folder}: {len(fitting)} vocabularies can be that of the column {column!r}",
            f"It has {domains[column].max + 1} labels by {_SCHEMA_FILE}; the vocabularies have "
            f"{sizes}.",
            "Convert again with one text label column, called label; make others StringInput.",
        )
    return fitting.pop()


def vocabulary_lines(words: Sequence[str], column: str) -> list[str]:
    """The labels of a column as its vocabulary file has them, a line each.

    Line breaks within a label, as TensorFlow knows them, become spaces. The manifest has the label
    as it is.

    Raises:
        DataError: Labels that differ in their line breaks only: TensorFlow would not load the file.
    """
    lines: dict[str, str] = {}
    for word in words:
        line = re.sub(r"[\r\n]+", " ", word)
        if line in lines:
            raise DataError(
                f"Labels in column {column!r} differ in their line breaks only",
                f"{lines[line]!r} and {word!r}: a vocabulary file has a label a line.",
                "Spell them alike, or make them two labels.",
            )
        lines[line] = word
    return list(lines)


def vocabulary_file(number: int) -> str:
    """The name of the n-th text label's vocabulary, as TensorFlow Transform numbers them."""
    middle = f"_{number}" if number else ""
    return f"vocab_compute_and_apply_vocabulary{middle}_vocabulary"


def record_features(plan: Plan) -> dict[str, str]:
    """Each feature of the records with its type: BYTES, INT or FLOAT."""
    types = {}
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
