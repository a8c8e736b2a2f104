"""Metrics that TFMA does not have ready-made; its evaluator finds them by their dotted path.

All are derived from TFMA's own accumulators, so that slices, comparisons with the baseline and
confidence intervals are TFMA's too.
"""

import math

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import calibration_histogram, metric_types, metric_util
from tensorflow_model_analysis.metrics import multi_class_confusion_matrix_metrics as confusion

_NO_THRESHOLD = 0.0  # the most probable label counts, however improbable it is
_BUCKETS = 10


class LabelRates(tfma.metrics.Metric):
    """Precision and recall of every label, where the most probable label is the prediction.

    TFMA's own ones binarise at a probability of 0.5, which with three labels or more is another
    question. Keys are (`precision` or `recall`, class id); NaN without such a prediction or label.
    """

    def __init__(self, classes: int, code: str = "", name: str = "label_rates"):
        """Args: `classes`, the number of labels; `code`, a digest that makes an edit count."""
        create = metric_util.merge_per_key_computations(_label_rates)
        super().__init__(create, classes=classes, code=code, name=name)


class CalibrationError(tfma.metrics.Metric):
    """How far predicted probabilities lie from observed frequencies, in 0..1.

    For every label the examples are put into 10 ranges of its predicted probability; the distance
    between the mean prediction and the share of that label, weighted by the number of examples,
    is averaged over labels (the class-wise expected calibration error).
    """

    def __init__(self, classes: int, code: str = "", name: str = "calibration_error"):
        """Args: `classes`, the number of labels; `code`, a digest that makes an edit count."""
        create = metric_util.merge_per_key_computations(_calibration_error)
        super().__init__(create, classes=classes, code=code, name=name)


def _label_rates(
    classes: int, code: str, name: str, eval_config=None, model_name: str = ""
) -> metric_types.MetricComputations:
    matrices = confusion.multi_class_confusion_matrices(
        thresholds=[_NO_THRESHOLD], eval_config=eval_config, model_name=model_name
    )
    source = matrices[-1].keys[-1]

    def key(rate: str, label: int) -> metric_types.MetricKey:
        sub_key = metric_types.SubKey(class_id=label)
        return metric_types.MetricKey(name=rate, model_name=model_name, sub_key=sub_key)

    def rates(metrics):
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
    classes: int, code: str, name: str, eval_config=None, model_name: str = ""
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

    def error(metrics):
        histograms = [metrics[source] for source in sources]
        return {key: sum(map(_distance, histograms)) / classes}

    return [*computations, metric_types.DerivedMetricComputation(keys=[key], result=error)]


def _distance(histogram) -> float:
    examples = sum(bucket.weighted_examples for bucket in histogram)
    distances = (abs(b.weighted_predictions - b.weighted_labels) for b in histogram)
    return sum(distances) / examples if examples else math.nan
