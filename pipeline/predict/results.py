"""Writes the prediction logs of BulkInferrer to a CSV file."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from data.record import records, tfrecord
from data.storage.csv_cells import escape_formula
from pipeline.predict.photo_folder import ROW


class _PhotoResult(NamedTuple):
    row: int
    label: str
    probabilities: list[float]


def write_predictions(
    logs: str, paths: list[str], labels: list[str] | None, file: Path
) -> list[str]:
    """Writes `path`, `label` and `probability_<label>` of each class, in the order of `paths`.

    Args:
        logs: URI of the InferenceResult artifact.
        paths: Paths of the photos; the feature `row` of a record is an index into them.
        labels: Label names; None writes the label indices.
        file: CSV file, written atomically.

    Returns:
        The label of each photo.
    """
    results = sorted(_read_logs(logs))
    classes = len(results[0].probabilities) if results else 0
    names = labels or [str(number) for number in range(classes)]
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", *(f"probability_{name}" for name in names)])
        for result in results:
            cells = (escape_formula(paths[result.row]), escape_formula(result.label))
            writer.writerow([*cells, *(f"{p:.6g}" for p in result.probabilities)])
    os.replace(partial, file)
    return [result.label for result in results]


def _read_logs(logs: str) -> Iterator[_PhotoResult]:
    for path in sorted(Path(logs).glob("prediction_logs-*")):
        for content in tfrecord.read(str(path)):
            log = prediction_log_pb2.PredictionLog.FromString(content).predict_log
            (record,) = log.request.inputs["examples"].string_val
            outputs = log.response.outputs
            label = tf.make_ndarray(outputs["label"]).reshape(-1)[0].decode()
            probabilities = tf.make_ndarray(outputs["probabilities"]).reshape(-1).tolist()
            row = records.parse(record)[ROW]
            assert isinstance(row, int)
            yield _PhotoResult(row, label, probabilities)
