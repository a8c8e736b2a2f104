"""Metrics that TFMA does not provide; its evaluator loads them by module and class name.

All are derived from TFMA's own accumulators, so TFMA also computes their slices, the comparison
with the baseline and the confidence intervals.
"""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import calibration_histogram, metric_types, metric_util
from tensorflow_model_analysis.metrics import multi_class_confusion_matrix_metrics as confusion
from tensorflow_model_analysis.proto import config_pb2

_NO_THRESHOLD = 0.0  # The most probable label is the prediction, whatever its probability.
_BUCKETS = 10


class LabelRates(tfma.metrics.Metric):
    """Precision and recall of every label; the prediction is the most probable label.

    TFMA's own metrics binarize at a probability of 0.5, which differs with three or more labels.
    Keys are (`precision` or `recall`, class id). A value is NaN if no example has that prediction
    or label.

    Args:
        classes: number of labels.
        code: digest of the metrics' code, which makes TFX's cache notice an edit.
        name: name of the metric.
    """

    def __init__(self, classes: int, code: str = "", name: str = "label_rates"):
        create = metric_util.merge_per_key_computations(_label_rates)
        super().__init__(create, classes=classes, code=code, name=name)


class CalibrationError(tfma.metrics.Metric):
    """Class-wise expected calibration error, in 0..1.

    For every label, the examples are put into 10 buckets of its predicted probability. The distance
    between the mean prediction and the share of that label, weighted by the number of examples, is
    averaged over the labels.

    Args:
        classes: number of labels.
        code: digest of the metrics' code, which makes TFX's cache notice an edit.
        name: name of the metric.
    """

    def __init__(self, classes: int, code: str = "", name: str = "calibration_error"):
        create = metric_util.merge_per_key_computations(_calibration_error)
        super().__init__(create, classes=classes, code=code, name=name)


def _label_rates(
    classes: int,
    code: str,
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
) -> metric_types.MetricComputations:
    matrices = confusion.multi_class_confusion_matrices(
        thresholds=[_NO_THRESHOLD], eval_config=eval_config, model_name=model_name
    )
    source = matrices[-1].keys[-1]

    def key(rate: str, label: int) -> metric_types.MetricKey:
        sub_key = metric_types.SubKey(class_id=label)
        return metric_types.MetricKey(name=rate, model_name=model_name, sub_key=sub_key)

    def rates(metrics: dict[metric_types.MetricKey, Any]) -> dict[metric_types.MetricKey, float]:
        counts = metrics[source].get(_NO_THRESHOLD, {})
        result = {}
        for label in range(classes):
            right = counts.get(confusion.MatrixEntryKey(label, label), 0.0)
            predicted = sum(n for entry, n in counts.items() if entry.predicted_class_id == label)
            actual = sum(n for entry, n in counts.items() if entry.actual_class_id == label)
            result[key("precision", label)] = right / predicted if predicted else math.nan
            result[key("recall", label)] = right / actual if actual else math.nan
        return result

    keys = [key(rate, label) for rate in ("precision", "recall") for label in range(classes)]
    return [*matrices, metric_types.DerivedMetricComputation(keys=keys, result=rates)]


def _calibration_error(
    classes: int,
    code: str,
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
) -> metric_types.MetricComputations:
    computations = []
    for label in range(classes):
        computations += calibration_histogram.calibration_histogram(
            num_buckets=_BUCKETS,
            eval_config=eval_config,
            model_name=model_name,
            sub_key=metric_types.SubKey(class_id=label),
        )
    sources = [computation.keys[-1] for computation in computations]
    key = metric_types.MetricKey(name=name, model_name=model_name)

    def error(metrics: dict[metric_types.MetricKey, Any]) -> dict[metric_types.MetricKey, float]:
        histograms = [metrics[source] for source in sources]
        return {key: sum(map(_distance, histograms)) / classes}

    return [*computations, metric_types.DerivedMetricComputation(keys=[key], result=error)]


def _distance(histogram: Sequence[calibration_histogram.Bucket]) -> float:
    examples = sum(bucket.weighted_examples for bucket in histogram)
    distances = (abs(b.weighted_predictions - b.weighted_labels) for b in histogram)
    return sum(distances) / examples if examples else math.nan
