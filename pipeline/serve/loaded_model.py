"""A SavedModel in memory, asked in batches. Needs TensorFlow and nothing else of the pipeline."""

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
Answer = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Signature:
    """One way to ask a model.

    Attributes:
        name: as in the SavedModel.
        input_name: of its only input.
        dtype: of a row, or None where rows are bytes.
        shape: of a row, without the batch dimension; None for any size.
    """

    name: str
    input_name: str
    dtype: np.dtype | None
    shape: tuple[int | None, ...]


class LoadedModel:
    """One version of a model.

    Args:
        path: folder of the SavedModel.
        version: its number.

    Raises:
        OSError: there is no SavedModel, or it is damaged.
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

    def answer(self, signature: Signature, rows: Sequence[Row]) -> list[Answer | RowError]:
        """What the model says of each row.

        The model is called once for each shape among the rows. A row that the model refuses costs
        only itself its answer: the rows of its shape are halved until it stands alone.

        Args:
            signature: one of `signatures`.
            rows: bytes, or arrays of the signature's dtype and shape.

        Returns:
            For each row its outputs by name, as JSON can hold them, or why there are none.
        """
        places: dict[tuple[int, ...], list[int]] = {}
        for place, row in enumerate(rows):
            shape = row.shape if isinstance(row, np.ndarray) else ()
            places.setdefault(shape, []).append(place)
        answers: dict[int, Answer | RowError] = {}
        for alike in places.values():
            of_shape = self._answer_alike(signature, [rows[place] for place in alike])
            answers.update(zip(alike, of_shape, strict=True))
        return [answers[place] for place in range(len(rows))]

    def _answer_alike(self, signature: Signature, rows: Sequence[Row]) -> list[Answer | RowError]:
        """The answers to rows of one shape."""
        try:
            answers = _rows(self._ask(signature, rows))
        except tf.errors.OpError as error:
            if len(rows) == 1:
                fault = isinstance(error, tf.errors.InvalidArgumentError)
                return [RowError(_in_short(error), 400 if fault else 500)]
            middle = len(rows) // 2
            first, second = rows[:middle], rows[middle:]
            return self._answer_alike(signature, first) + self._answer_alike(signature, second)
        if len(answers) != len(rows):
            text = f"the model gave {len(answers)} answers to {len(rows)} instances"
            return [RowError(text, 500)] * len(rows)
        return answers

    def _ask(self, signature: Signature, rows: Sequence[Row]) -> dict[str, np.ndarray]:
        batch = tf.constant(rows if signature.dtype is None else np.stack(rows))
        outputs = self._loaded.signatures[signature.name](**{signature.input_name: batch})
        return {name: value.numpy() for name, value in outputs.items()}


def _signature(name: str, function) -> Signature | None:
    """None for a signature that rows cannot be sent to: several inputs, or none with a batch."""
    inputs = function.structured_input_signature[1]
    if len(inputs) != 1:
        return None
    ((input_name, spec),) = inputs.items()
    if not spec.shape.rank:
        return None
    dtype = None if spec.dtype == tf.string else np.dtype(spec.dtype.as_numpy_dtype)
    return Signature(name, input_name, dtype, tuple(spec.shape.as_list()[1:]))


def _signature_defs(path: Path) -> dict:
    """The signatures as TensorFlow Serving's metadata shows them."""
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    defs = saved.meta_graphs[0].signature_def
    return {
        name: json_format.MessageToDict(defs[name], preserving_proto_field_name=True)
        for name in sorted(defs)
        if not name.startswith("__")
    }


def _rows(outputs: dict[str, np.ndarray]) -> list[Answer]:
    columns = {name: _jsonable(values) for name, values in outputs.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _jsonable(values: np.ndarray) -> list:
    if values.dtype == np.float32:
        # By way of text: 0.1, and not the 0.10000000149011612 that it is as a double.
        return values.astype(str).astype(np.float64).tolist()
    if values.dtype == object:
        return _texts(values.tolist())
    return values.tolist()


def _texts(values):
    """Strings as they are, bytes that are no text as TensorFlow Serving has them: {"b64": …}."""
    if isinstance(values, list):
        return [_texts(value) for value in values]
    try:
        return values.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(values).decode()}


def _in_short(error: tf.errors.OpError) -> str:
    """The reason without the graph's names and traces, in one line."""
    text = error.message.rpartition("<stack traces unavailable>")[2]
    text = re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:\w+\]|\d+ root error\(s\) found\.", "", text)
    return " ".join(text.split())[:300] or type(error).__name__
