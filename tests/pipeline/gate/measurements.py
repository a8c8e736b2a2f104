"""Measurements of a model that is given by its confusion matrix, without running TFMA."""

import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from pipeline.gate.measurements import Measurements

_CONFUSION = "multi_class_confusion_matrix_at_thresholds"


def measurements_from_counts(monkeypatch, labels, candidate, baseline=None) -> Measurements:
    """Returns measurements over all examples.

    Args:
        monkeypatch: replaces TFMA's reader.
        labels: label names by index.
        candidate: number of examples [actual label][predicted label].
        baseline: the same for the latest blessed model; None without one.
    """
    entry = metrics_for_slice_pb2.MetricsForSlice()
    values = {}
    for model, counts in (("candidate", candidate), ("baseline", baseline)):
        if counts is None:
            continue
        counts = np.array(counts)
        matrix = _value(entry, _CONFUSION, model).multi_class_confusion_matrix_at_thresholds
        cells = matrix.matrices.add()
        for (actual, predicted), n in np.ndenumerate(counts):
            if n:
                cells.entries.add(
                    actual_class_id=actual,
                    predicted_class_id=predicted,
                    num_weighted_examples=n,
                )
        # Keras measures accuracy in single precision.
        values[model, "accuracy", None] = float(np.float32(counts.trace() / counts.sum()))
        with np.errstate(invalid="ignore"):
            for i in range(len(labels)):
                values[model, "recall", i] = float(counts[i, i] / counts[i].sum())
                values[model, "precision", i] = float(counts[i, i] / counts[:, i].sum())
    for (model, name, label), value in values.items():
        _value(entry, name, model, label).double_value.value = value
        if baseline is not None and model == "candidate":
            change = _value(entry, name, model, label, is_diff=True)
            change.double_value.value = value - values["baseline", name, label]
    monkeypatch.setattr(tfma, "load_metrics", lambda uri: [entry])
    return Measurements("unread", tuple(labels))


def _value(entry, name, model, label=None, is_diff=False):
    pair = entry.metric_keys_and_values.add()
    pair.key.name, pair.key.model_name, pair.key.is_diff = name, model, is_diff
    if label is not None:
        pair.key.sub_key.class_id.value = label
    return pair.value
