"""A SavedModel in memory, called in batches. Requires TensorFlow only."""

import base64
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from pipeline.serve.errors import RowError

Row = bytes | np.ndarray
RowOutputs = dict[str, Any]
"""Outputs of a signature for one row, by name, as JSON values."""


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature with one batched input.

    Attributes:
        name: Name of the signature in the SavedModel.
        input_name: Name of its input.
        dtype: Type of a row; None if rows are bytes.
        shape: Shape of a row, without the batch dimension; None for a free dimension.
    """

    name: str
    input_name: str
    dtype: np.dtype | None
    shape: tuple[int | None, ...]


class LoadedModel:
    """One version of a model.

    Args:
        path: Folder of the SavedModel.
        version: Number of the version.

    Raises:
        OSError: The SavedModel is missing or damaged.

    Example:
        >>> model = LoadedModel(Path("runs/serving/1"), version=1)
        >>> photo = Path("cat.jpg").read_bytes()
        >>> model.predict(model.signatures["serving_jpeg"], [photo])
        [{'label': 'cat', 'label_index': 0, 'probabilities': [0.98, 0.02]}]
    """

    def __init__(self, path: Path, version: int):
        self.path = path
        self.version = version
        self._loaded = tf.saved_model.load(str(path))
        self.signatures = {
            name: signature
            for name, function in self._loaded.signatures.items()
            if (signature := _signature(name, function))
        }
        self.signature_defs = _signature_defs(path)

    def predict(self, signature: Signature, rows: Sequence[Row]) -> list[RowOutputs | RowError]:
        """Runs the model on each row.

        The model is called once per distinct row shape. If a call fails, its rows are bisected, so
        that only the invalid rows fail.

        Args:
            signature: One of `signatures`.
            rows: Bytes, or arrays of the signature's dtype and shape.

        Returns:
            The outputs of each row, or the reason why it has none.
        """
        indices: dict[tuple[int, ...], list[int]] = {}
        for index, row in enumerate(rows):
            shape = row.shape if isinstance(row, np.ndarray) else ()
            indices.setdefault(shape, []).append(index)
        results: dict[int, RowOutputs | RowError] = {}
        for same_shape in indices.values():
            outputs = self._predict_batch(signature, [rows[index] for index in same_shape])
            results.update(zip(same_shape, outputs, strict=True))
        return [results[index] for index in range(len(rows))]

    def _predict_batch(
        self, signature: Signature, rows: Sequence[Row]
    ) -> Sequence[RowOutputs | RowError]:
        """Runs the model on rows of one shape."""
        try:
            results = _rows(self._call(signature, rows))
        except tf.errors.OpError as error:
            if len(rows) == 1:
                invalid = isinstance(error, tf.errors.InvalidArgumentError)
                return [RowError(_short_message(error), 400 if invalid else 500)]
            middle = len(rows) // 2
            halves = rows[:middle], rows[middle:]
            return [result for half in halves for result in self._predict_batch(signature, half)]
        if len(results) != len(rows):
            text = f"the model returned {len(results)} rows for {len(rows)} instances"
            return [RowError(text, 500)] * len(rows)
        return results

    def _call(self, signature: Signature, rows: Sequence[Row]) -> dict[str, np.ndarray]:
        batch = tf.constant(rows if signature.dtype is None else np.stack(rows))
        outputs = self._loaded.signatures[signature.name](**{signature.input_name: batch})
        return {name: value.numpy() for name, value in outputs.items()}


def _signature(name: str, function: Any) -> Signature | None:
    """Returns a signature; None if it has several inputs or no batch dimension."""
    inputs = function.structured_input_signature[1]
    if len(inputs) != 1:
        return None
    ((input_name, spec),) = inputs.items()
    if not spec.shape.rank:
        return None
    dtype = None if spec.dtype == tf.string else np.dtype(spec.dtype.as_numpy_dtype)
    return Signature(name, input_name, dtype, tuple(spec.shape.as_list()[1:]))


def _signature_defs(path: Path) -> dict[str, Any]:
    """Returns the signatures as in TensorFlow Serving's metadata."""
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    defs = saved.meta_graphs[0].signature_def
    return {
        name: json_format.MessageToDict(defs[name], preserving_proto_field_name=True)
        for name in sorted(defs)
        if not name.startswith("__")
    }


def _rows(outputs: dict[str, np.ndarray]) -> list[RowOutputs]:
    columns = {name: _jsonable(values) for name, values in outputs.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _jsonable(values: np.ndarray) -> list[Any]:
    if values.dtype == np.float32:
        # Converted by way of text: 0.1 instead of 0.10000000149011612.
        return values.astype(str).astype(np.float64).tolist()
    if values.dtype == object:
        return _decode(values.tolist())
    return values.tolist()


def _decode(value: Any) -> Any:
    """Decodes bytes in nested lists: UTF-8 to str, others to {"b64": ...} as TensorFlow Serving."""
    if isinstance(value, list):
        return [_decode(item) for item in value]
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _short_message(error: tf.errors.OpError) -> str:
    """Returns the message in one line, without node names and stack traces."""
    text = error.message.rpartition("<stack traces unavailable>")[2]
    text = re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:\w+\]|\d+ root error\(s\) found\.", "", text)
    return " ".join(text.split())[:300] or type(error).__name__
