"""Reads what one Evaluator execution wrote."""

import dataclasses
import math

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.writers import eval_config_writer

from pipeline.artifacts.names import BASELINE
from pipeline.config.gate import SHARES
from pipeline.gate.intervals import ROUNDING, wilson
from pipeline.gate.slicing import feature_name

_LABEL = "label"
_CANDIDATE = "candidate"
_CHANGE = "change"
_CONFUSION = "multi_class_confusion_matrix_at_thresholds"
OVERALL = ()


@dataclasses.dataclass(frozen=True)
class Figure:
    """One measured value."""

    value: float | None
    """None where it cannot be measured, e.g. the recall of a label that no example has."""
    interval: tuple[float, float] | None = None
    """Ends of the 95 % confidence interval: TFMA's if it was asked for and could be computed, else
    Wilson's for accuracy, precision and recall."""


Slice = tuple[tuple[str, str], ...]
"""((feature, value as text), ...), labels by name; () is all examples."""


class Measurements:
    """The figures of a candidate, of its baseline, and of the change between them."""

    def __init__(self, uri: str, labels: tuple[str, ...]):
        """Reads the figures.

        Args:
            uri: of the `evaluation` artifact.
            labels: label names by index.
        """
        self._labels = labels
        self._uri = uri
        # (kind, metric, label or None, slice) -> figure; kind: candidate, baseline or change
        self._figures: dict[tuple[str, str, str | None, Slice], Figure] = {}
        # (candidate or baseline, slice) -> number of examples [actual label][predicted label]; the
        # last column is TFMA's predicted label of -1: no label at all.
        self._counts: dict[tuple[str, Slice], list[list[int]]] = {}
        for entry in tfma.load_metrics(uri):
            where = self._slice(entry.slice_key)
            for pair in entry.metric_keys_and_values:
                self._add(where, pair)
        self._drop_auc_of_one_label()
        self._use_counts()

    @property
    def slices(self) -> list[Slice]:
        """Every slice that has an example, all examples first."""
        return sorted(where for model, where in self._counts if model == _CANDIDATE)

    @property
    def has_baseline(self) -> bool:
        """Whether a second model was measured."""
        return any(kind == BASELINE for kind, *_ in self._figures)

    @property
    def baseline_path(self) -> str | None:
        """The SavedModel that was the baseline; None where there was none."""
        *_, locations = eval_config_writer.load_eval_run(self._uri)
        return locations[BASELINE] if self.has_baseline else None

    def figure(self, kind: str, metric: str, label: str | None, where: Slice) -> Figure:
        """A figure; one without a value if there is none.

        Args:
            kind: `candidate`, `baseline` or `change` (candidate minus baseline).
            metric: its name in a bound.
            label: for precision and recall, the label.
            where: the slice.
        """
        return self._figures.get((kind, metric, label, where), Figure(None))

    def examples(self, where: Slice) -> int:
        """Number of examples in a slice."""
        return sum(map(sum, self._counts.get((_CANDIDATE, where), [])))

    def photos(self, metric: str, label: str | None, where: Slice) -> int:
        """Number of photos that the candidate's figure is about.

        Of recall those that have the label, of precision those that are predicted to have it, of
        other metrics all in the slice.
        """
        return self._share(_CANDIDATE, metric, label, where)[1]

    def labelled(self, label: str, where: Slice) -> int:
        """Number of photos in a slice that have a label."""
        return self._share(_CANDIDATE, "recall", label, where)[1]

    def is_defined(self, metric: str, label: str | None, where: Slice) -> bool:
        """Whether a slice has what a metric is about: the label, or for the AUC two labels."""
        counts = self._counts.get((_CANDIDATE, where), [])
        present = {name for name, row in zip(self._labels, counts, strict=False) if any(row)}
        if metric == "auc":
            return len(present) > 1
        return label is None or label in present

    def confusion(self, where: Slice = OVERALL) -> list[list[int]]:
        """Number of examples [actual label][predicted label]."""
        return [row[:-1] for row in self._counts[_CANDIDATE, where]]

    def table(self) -> dict[str, dict[str, float | None]]:
        """The candidate's figures as {slice: {metric: value}}, per label as `recall of cat`."""
        result: dict[str, dict[str, float | None]] = {}
        for where in self.slices:
            row: dict[str, float | None] = {"example_count": self.examples(where)}
            for (kind, metric, label, at), figure in self._figures.items():
                if kind == _CANDIDATE and at == where and figure.value is not None:
                    row[metric_name(metric, label)] = figure.value
            result[slice_name(where)] = row
        return result

    def calibration(self) -> dict[str, list[dict]]:
        """Of each label, by range of its predicted probability: {label: [{...}]}.

        The fields are `predicted` (mean probability), `observed` (share of examples that have the
        label) and `examples`; ranges without an example are left out.
        """
        result = {}
        for entry in tfma.load_plots(self._uri):
            if self._slice(entry.slice_key) != OVERALL:
                continue
            for pair in entry.plot_keys_and_values:
                if pair.key.model_name == BASELINE or not pair.key.HasField("sub_key"):
                    continue
                buckets = pair.value.calibration_histogram_buckets.buckets
                label = self._labels[pair.key.sub_key.class_id.value]
                result[label] = [_calibration_point(b) for b in buckets if _examples_in(b)]
        return result

    def _add(self, where: Slice, pair) -> None:
        key = pair.key
        model = BASELINE if key.model_name == BASELINE else _CANDIDATE
        kind = _CHANGE if key.is_diff else model
        if key.name == _CONFUSION and kind != _CHANGE:
            matrix = pair.value.multi_class_confusion_matrix_at_thresholds.matrices[0]
            counts = [[0] * (len(self._labels) + 1) for _ in self._labels]
            for entry in matrix.entries:
                count = round(entry.num_weighted_examples)
                counts[entry.actual_class_id][entry.predicted_class_id] = count
            self._counts[kind, where] = counts
        elif pair.value.HasField("double_value") and key.name != "example_count":
            label = None
            if key.HasField("sub_key") and not key.HasField("aggregation_type"):
                label = self._labels[key.sub_key.class_id.value]
            value = _number(pair.value)
            interval = None
            if value is not None and pair.HasField("confidence_interval"):
                interval = _interval(pair.confidence_interval)
            self._figures[kind, key.name, label, where] = Figure(value, interval)

    def _drop_auc_of_one_label(self) -> None:
        """TFMA says 0 where there is nothing to tell apart."""
        for key in list(self._figures):
            _, metric, label, where = key
            if metric == "auc" and not (label is None and self.is_defined(metric, None, where)):
                del self._figures[key]

    def _use_counts(self) -> None:
        """Replaces TFMA's shares, some in single precision, by those of the numbers of photos.

        Gives them Wilson's interval where TFMA has none, or one without width: its methods draw
        from the examples, so a model without an error looks certain to them.
        """
        for (kind, metric, label, where), figure in list(self._figures.items()):
            if metric not in SHARES or figure.value is None:
                continue
            interval = figure.interval
            if kind == _CHANGE:
                new, old = (
                    self._share(model, metric, label, where) for model in (_CANDIDATE, BASELINE)
                )
                value = new[0] / new[1] - old[0] / old[1]
            else:
                right, photos = self._share(kind, metric, label, where)
                value = right / photos
                if interval is None or interval[1] - interval[0] < ROUNDING:
                    interval = wilson(right, photos)
            self._figures[kind, metric, label, where] = Figure(value, interval)

    def _share(self, model: str, metric: str, label: str | None, where: Slice) -> tuple[int, int]:
        """Number of right photos, and of those that the metric is about."""
        counts = self._counts.get((model, where))
        if counts is None:
            return 0, 0
        if label is None:
            return sum(row[i] for i, row in enumerate(counts)), sum(map(sum, counts))
        i = self._labels.index(label)
        about = counts[i] if metric == "recall" else [row[i] for row in counts]
        return counts[i][i], sum(about)

    def _slice(self, slice_key) -> Slice:
        pairs = []
        for single in slice_key.single_slice_keys:
            value = getattr(single, single.WhichOneof("kind"))
            text = value.decode() if isinstance(value, bytes) else str(value)
            if single.column == _LABEL:
                text = self._labels[int(text)]
            pairs.append((feature_name(single.column), text))
        return tuple(pairs)


def slice_name(where: Slice) -> str:
    """`overall`, or `feature=value`."""
    return ", ".join(f"{feature}={value}" for feature, value in where) or "overall"


def metric_name(metric: str, label: str | None) -> str:
    """`accuracy`, or `recall of cat`."""
    return metric if label is None else f"{metric} of {label}"


def _number(value) -> float | None:
    number = value.double_value.value
    return number if math.isfinite(number) else None


def _interval(interval) -> tuple[float, float] | None:
    low, high = _number(interval.lower_bound), _number(interval.upper_bound)
    return None if low is None or high is None else (low, high)


def _examples_in(bucket) -> float:
    return bucket.num_weighted_examples.value


def _calibration_point(bucket) -> dict:
    examples = _examples_in(bucket)
    return {
        "predicted": bucket.total_weighted_refined_prediction.value / examples,
        "observed": bucket.total_weighted_label.value / examples,
        "examples": round(examples),
    }
