"""The files by which TensorFlow Transform reads the records: schema and vocabularies."""

from __future__ import annotations

import re
from collections.abc import Sequence

from google.protobuf.text_encoding import CEscape

from data import files
from data.errors import DataError
from data.plan import Plan
from data.records import (
    IMAGE_CHANNELS,
    IMAGE_ENCODING,
    IMAGE_FEATURES,
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    JPEG,
)
from data.transform_graph import ASSETS, transform_graph
from data.types import FloatInput, ImageUri, IntegerInput, IntegerLabel, StringLabel

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
    _write(folder, "transformed_metadata/schema.pbtxt", schema.encode())
    assets = {name: vocabulary_file(number) for number, name in enumerate(plan.vocabularies)}
    for name, file in assets.items():
        lines = vocabulary_lines(plan.vocabularies[name], name)
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
        _write(folder, f"transform_fn/{ASSETS}/{file}", text)
    _write(folder, "transform_fn/saved_model.pb", transform_graph(features, assets))


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
