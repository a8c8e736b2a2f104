"""From BulkInferrer's prediction logs to a CSV."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from data.record import records, tfrecord
from data.storage.csv_cells import escape_formula
from pipeline.predict.photo_folder import ROW


def write_predictions(
    logs: str, paths: list[str], labels: list[str] | None, file: Path
) -> list[str]:
    """Writes `path`, `label` and `probability_<label>` of every class, in the order of paths.

    Args:
        logs: URI of the InferenceResult artifact.
        paths: of the photos; a record's `row` is an index into them.
        labels: names of the classes; None writes their numbers.
        file: appears whole or not at all.

    Returns:
        The label of each photo.
    """
    found = sorted(_predictions(logs))
    classes = len(found[0][2]) if found else 0
    names = labels or [str(number) for number in range(classes)]
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", *(f"probability_{name}" for name in names)])
        for row, label, probabilities in found:
            cells = (escape_formula(paths[row]), escape_formula(label))
            writer.writerow([*cells, *(f"{p:.6g}" for p in probabilities)])
    os.replace(partial, file)
    return [label for _, label, _ in found]


def _predictions(logs: str) -> Iterator[tuple[int, str, list[float]]]:
    """Row, label and probabilities of each photo."""
    for path in sorted(Path(logs).glob("prediction_logs-*")):
        for content in tfrecord.read(str(path)):
            log = prediction_log_pb2.PredictionLog.FromString(content).predict_log
            (record,) = log.request.inputs["examples"].string_val
            outputs = log.response.outputs
            label = tf.make_ndarray(outputs["label"]).reshape(-1)[0].decode()
            probabilities = tf.make_ndarray(outputs["probabilities"]).reshape(-1).tolist()
            yield records.parse(record)[ROW], label, probabilities
