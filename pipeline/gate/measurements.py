"""Reads the metrics and plots that an Evaluator execution wrote."""

import dataclasses
import math
from typing import TypeAlias, TypedDict

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import metrics_for_slice_pb2
from tensorflow_model_analysis.writers import eval_config_writer

from data.record.records import LABEL
from pipeline.artifacts.names import BASELINE
from pipeline.config.gate import SHARES
from pipeline.gate.intervals import ROUNDING, wilson
from pipeline.gate.slicing import feature_name

_CANDIDATE = "candidate"
_CHANGE = "change"
_CONFUSION = "multi_class_confusion_matrix_at_thresholds"
_MetricKeyAndValue: TypeAlias = metrics_for_slice_pb2.MetricsForSlice.MetricKeyAndValue
_Bucket: TypeAlias = metrics_for_slice_pb2.CalibrationHistogramBuckets.Bucket

SliceKey = tuple[tuple[str, str], ...]
"""((feature, value as text), ...), labels by name; () is all examples."""
OVERALL: SliceKey = ()


@dataclasses.dataclass(frozen=True)
class MetricValue:
    """The value of a metric in a slice."""

    value: float | None
    """None if it is undefined, such as the recall of a label that no example has."""
    interval: tuple[float, float] | None = None
    """Ends of the 95 % confidence interval: TFMA's if it was computed, else Wilson's for accuracy,
    precision and recall, else None."""


class CalibrationPoint(TypedDict):
    """One bucket of the predicted probabilities of a label."""

    predicted: float
    """Mean predicted probability."""
    observed: float
    """Share of the examples that have the label."""
    examples: int
    """Number of examples."""


class Measurements:
    """Metric values of a candidate, of its baseline, and the changes between them.

    Args:
        uri: URI of the `evaluation` artifact.
        labels: label names by index.
    """

    def __init__(self, uri: str, labels: tuple[str, ...]):
        self._labels = labels
        self._uri = uri
        # Keys: (kind, metric, label or None, slice); kind is candidate, baseline or change.
        self._values: dict[tuple[str, str, str | None, SliceKey], MetricValue] = {}
        # (candidate or baseline, slice) -> number of examples [actual label][predicted label]. The
        # last column is TFMA's class -1: no predicted label.
        self._counts: dict[tuple[str, SliceKey], list[list[int]]] = {}
        for entry in tfma.load_metrics(uri):
            slice_key = self._slice_key(entry.slice_key)
            for pair in entry.metric_keys_and_values:
                self._add(slice_key, pair)
        self._drop_auc_of_one_label()
        self._use_counts()

    @property
    def slices(self) -> list[SliceKey]:
        """Every slice that has an example; the slice of all examples comes first."""
        return sorted(slice_key for model, slice_key in self._counts if model == _CANDIDATE)

    @property
    def has_baseline(self) -> bool:
        """Whether a baseline was measured."""
        return any(kind == BASELINE for kind, *_ in self._values)

    @property
    def baseline_path(self) -> str | None:
        """The SavedModel of the baseline; None without a baseline."""
        *_, locations = eval_config_writer.load_eval_run(self._uri)
        return locations[BASELINE] if self.has_baseline else None

    def get(self, kind: str, metric: str, label: str | None, slice_key: SliceKey) -> MetricValue:
        """Returns the value of a metric; `MetricValue(None)` if it was not measured.

        Args:
            kind: `candidate`, `baseline` or `change` (candidate minus baseline).
            metric: name of the metric, as in a bound.
            label: the label of precision and recall; None for other metrics.
            slice_key: the slice.
        """
        return self._values.get((kind, metric, label, slice_key), MetricValue(None))

    def examples(self, slice_key: SliceKey) -> int:
        """Returns the number of examples in a slice."""
        return sum(map(sum, self._counts.get((_CANDIDATE, slice_key), [])))

    def photos(self, metric: str, label: str | None, slice_key: SliceKey) -> int:
        """Returns the number of photos behind the candidate's value: its denominator.

        For recall, the photos that have the label; for precision, those predicted to have it; for
        other metrics, all photos in the slice.
        """
        return self._share(_CANDIDATE, metric, label, slice_key)[1]

    def labelled(self, label: str, slice_key: SliceKey) -> int:
        """Returns the number of photos in a slice that have a label."""
        return self._share(_CANDIDATE, "recall", label, slice_key)[1]

    def is_defined(self, metric: str, label: str | None, slice_key: SliceKey) -> bool:
        """Returns whether a metric is defined in a slice.

        Precision and recall need a photo of the label, and the AUC photos of two labels.
        """
        counts = self._counts.get((_CANDIDATE, slice_key), [])
        present = {name for name, row in zip(self._labels, counts, strict=False) if any(row)}
        if metric == "auc":
            return len(present) > 1
        return label is None or label in present

    def confusion(self, slice_key: SliceKey = OVERALL) -> list[list[int]]:
        """Returns the number of examples [actual label][predicted label]."""
        return [row[:-1] for row in self._counts[_CANDIDATE, slice_key]]

    def table(self) -> dict[str, dict[str, float]]:
        """Returns the candidate's values as {slice: {metric: value}}; labels as `recall of cat`."""
        result: dict[str, dict[str, float]] = {}
        for slice_key in self.slices:
            row: dict[str, float] = {"example_count": self.examples(slice_key)}
            for (kind, metric, label, key), measured in self._values.items():
                if kind == _CANDIDATE and key == slice_key and measured.value is not None:
                    row[metric_name(metric, label)] = measured.value
            result[slice_name(slice_key)] = row
        return result

    def calibration(self) -> dict[str, list[CalibrationPoint]]:
        """Returns the calibration curve of each label; buckets without an example are left out."""
        result = {}
        for entry in tfma.load_plots(self._uri):
            if self._slice_key(entry.slice_key) != OVERALL:
                continue
            for pair in entry.plot_keys_and_values:
                if pair.key.model_name == BASELINE or not pair.key.HasField("sub_key"):
                    continue
                buckets = pair.value.calibration_histogram_buckets.buckets
                label = self._labels[pair.key.sub_key.class_id.value]
                result[label] = [_calibration_point(b) for b in buckets if _examples_in(b)]
        return result

    def _add(self, slice_key: SliceKey, pair: _MetricKeyAndValue) -> None:
        key = pair.key
        model = BASELINE if key.model_name == BASELINE else _CANDIDATE
        kind = _CHANGE if key.is_diff else model
        if key.name == _CONFUSION and kind != _CHANGE:
            matrix = pair.value.multi_class_confusion_matrix_at_thresholds.matrices[0]
            counts = [[0] * (len(self._labels) + 1) for _ in self._labels]
            for entry in matrix.entries:
                count = round(entry.num_weighted_examples)
                counts[entry.actual_class_id][entry.predicted_class_id] = count
            self._counts[kind, slice_key] = counts
        elif pair.value.HasField("double_value") and key.name != "example_count":
            label = None
            if key.HasField("sub_key") and not key.HasField("aggregation_type"):
                label = self._labels[key.sub_key.class_id.value]
            value = _number(pair.value)
            interval = None
            if value is not None and pair.HasField("confidence_interval"):
                interval = _interval(pair.confidence_interval)
            self._values[kind, key.name, label, slice_key] = MetricValue(value, interval)

    def _drop_auc_of_one_label(self) -> None:
        """Drops the AUC of slices with one label, for which TFMA reports 0."""
        for key in list(self._values):
            _, metric, label, slice_key = key
            if metric == "auc" and not (label is None and self.is_defined(metric, None, slice_key)):
                del self._values[key]

    def _use_counts(self) -> None:
        """Recomputes accuracy, precision and recall from the confusion matrix.

        TFMA's values are partly in single precision. An interval that TFMA lacks, or that has no
        width, is replaced by Wilson's: TFMA resamples the examples, so the interval of a model
        without errors has no width.
        """
        for (kind, metric, label, slice_key), measured in list(self._values.items()):
            if metric not in SHARES or measured.value is None:
                continue
            interval = measured.interval
            if kind == _CHANGE:
                new, old = (
                    self._share(model, metric, label, slice_key) for model in (_CANDIDATE, BASELINE)
                )
                value = new[0] / new[1] - old[0] / old[1]
            else:
                right, photos = self._share(kind, metric, label, slice_key)
                value = right / photos
                if interval is None or interval[1] - interval[0] < ROUNDING:
                    interval = wilson(right, photos)
            self._values[kind, metric, label, slice_key] = MetricValue(value, interval)

    def _share(
        self, model: str, metric: str, label: str | None, slice_key: SliceKey
    ) -> tuple[int, int]:
        """Returns numerator and denominator of a share: right photos, and photos that count."""
        counts = self._counts.get((model, slice_key))
        if counts is None:
            return 0, 0
        if label is None:
            return sum(row[i] for i, row in enumerate(counts)), sum(map(sum, counts))
        i = self._labels.index(label)
        photos = counts[i] if metric == "recall" else [row[i] for row in counts]
        return counts[i][i], sum(photos)

    def _slice_key(self, stored: metrics_for_slice_pb2.SliceKey) -> SliceKey:
        pairs = []
        for single in stored.single_slice_keys:
            value = getattr(single, single.WhichOneof("kind"))
            text = value.decode() if isinstance(value, bytes) else str(value)
            if single.column == LABEL:
                text = self._labels[int(text)]
            pairs.append((feature_name(single.column), text))
        return tuple(pairs)


def slice_name(slice_key: SliceKey) -> str:
    """Returns `overall`, or `feature=value`."""
    return ", ".join(f"{feature}={value}" for feature, value in slice_key) or "overall"


def metric_name(metric: str, label: str | None) -> str:
    """Returns `accuracy`, or `recall of cat`."""
    return metric if label is None else f"{metric} of {label}"


def _number(value: metrics_for_slice_pb2.MetricValue) -> float | None:
    number = value.double_value.value
    return number if math.isfinite(number) else None


def _interval(interval: metrics_for_slice_pb2.ConfidenceInterval) -> tuple[float, float] | None:
    low, high = _number(interval.lower_bound), _number(interval.upper_bound)
    return None if low is None or high is None else (low, high)


def _examples_in(bucket: _Bucket) -> float:
    return bucket.num_weighted_examples.value


def _calibration_point(bucket: _Bucket) -> CalibrationPoint:
    examples = _examples_in(bucket)
    return {
        "predicted": bucket.total_weighted_refined_prediction.value / examples,
        "observed": bucket.total_weighted_label.value / examples,
        "examples": round(examples),
    }
