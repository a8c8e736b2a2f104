"""Gate 1: what TFMA measures, the bounds that a model must meet, and the verdict in words."""

import dataclasses

import tensorflow_model_analysis as tfma

from pipeline.gate.options import Bound, GateConfig

_LABEL = "label"
_BASELINE = "baseline"  # the name that TFMA gives the second model
_OVERALL = "overall"
_CLASS_NAMES = {
    "accuracy": "SparseCategoricalAccuracy",
    "auc": "AUC",
    "loss": "SparseCategoricalCrossentropy",
}


@dataclasses.dataclass(frozen=True)
class VerdictRow:
    """One bound in one slice."""

    metric: str
    slice: str
    """`overall` or `feature=value`; classes by their name."""
    kind: str
    """`value`, or `change` against the latest blessed model."""
    value: float | None
    """The metric of the candidate; None where TFMA found no example to measure."""
    bound: str
    """The condition, e.g. `>= 0.6` or `change >= -0.02`."""
    baseline: float | None
    """The metric of the latest blessed model; None where there is none."""
    passed: bool | None
    """None: a change bound that does not apply for want of a blessed model."""


def eval_config(gate: GateConfig, classes: int) -> tfma.EvalConfig:
    """The TFMA configuration of gate 1.

    Args:
      gate: bounds and slices.
      classes: number of labels; AUC is one class against the rest, averaged.
    """
    slices = dict.fromkeys([*gate.slice_by, *(b.slice_by for b in gate.bounds if b.slice_by)])
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                label_key=_LABEL,
                signature_name="serving_default",
                prediction_key="probabilities",
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), *(tfma.SlicingSpec(feature_keys=[s]) for s in slices)],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    _metric("accuracy", gate),
                    _metric("loss", gate),
                    tfma.MetricConfig(class_name="MultiClassConfusionMatrixPlot"),
                ]
            ),
            tfma.MetricsSpec(
                metrics=[_metric("auc", gate)],
                binarize=tfma.BinarizationOptions(class_ids={"values": range(classes)}),
                aggregate=tfma.AggregationOptions(
                    macro_average=True, class_weights=dict.fromkeys(range(classes), 1.0)
                ),
            ),
        ],
    )


def _metric(name: str, gate: GateConfig) -> tfma.MetricConfig:
    return tfma.MetricConfig(
        class_name=_CLASS_NAMES[name],
        config=f'"name": "{name}"',
        per_slice_thresholds=[
            tfma.PerSliceMetricThreshold(
                slicing_specs=[
                    tfma.SlicingSpec(feature_keys=[bound.slice_by] if bound.slice_by else [])
                ],
                threshold=_threshold(bound),
            )
            for bound in gate.bounds
            if bound.metric == name
        ],
    )


def _threshold(bound: Bound) -> tfma.MetricThreshold:
    threshold = tfma.MetricThreshold()
    if bound.min is not None:
        threshold.value_threshold.lower_bound.value = bound.min
    if bound.max is not None:
        threshold.value_threshold.upper_bound.value = bound.max
    if bound.min_change is not None:
        threshold.change_threshold.absolute.value = bound.min_change
        threshold.change_threshold.direction = tfma.MetricDirection.HIGHER_IS_BETTER
    elif bound.max_change is not None:
        threshold.change_threshold.absolute.value = bound.max_change
        threshold.change_threshold.direction = tfma.MetricDirection.LOWER_IS_BETTER
    return threshold


class Evaluation:
    """The written result of one Evaluator execution."""

    def __init__(self, uri: str, labels: tuple[str, ...]):
        """Reads the result.

        Args:
          uri: of the `evaluation` artifact.
          labels: label names by index.
        """
        self._labels = labels
        self._validation = tfma.load_validation_result(uri)
        # (is baseline, metric, slice) -> value
        self._values: dict[tuple[bool, str, tuple], float] = {}
        for entry in tfma.load_metrics(uri):
            where = _slice_key(entry.slice_key)
            for pair in entry.metric_keys_and_values:
                key = pair.key
                of_one_class = key.HasField("sub_key") and not key.HasField("aggregation_type")
                if not (of_one_class or key.is_diff) and pair.value.HasField("double_value"):
                    is_baseline = key.model_name == _BASELINE
                    self._values[is_baseline, key.name, where] = pair.value.double_value.value

    def metrics(self) -> dict[str, dict[str, float]]:
        """The candidate's figures: {slice: {metric: value}}."""
        result: dict[str, dict[str, float]] = {}
        for (is_baseline, name, where), value in self._values.items():
            of_one_label = any(column == _LABEL for column, _ in where)
            if not is_baseline and not (name == "auc" and of_one_label):
                result.setdefault(self._slice_name(where), {})[name] = value
        return result

    @property
    def blessed(self) -> bool:
        """TFMA's verdict."""
        return self._validation.validation_ok

    def verdict(self, gate: GateConfig) -> list[VerdictRow]:
        """Every bound in every slice to which it applies, in the order of the config."""
        rows = []
        slices = sorted({where for _, _, where in self._values})
        for bound in gate.bounds:
            wanted = (bound.slice_by,) if bound.slice_by else ()
            matching = [where for where in slices if tuple(column for column, _ in where) == wanted]
            for where in matching:
                rows += self._rows(bound, where)
        return rows

    def _rows(self, bound: Bound, where: tuple) -> list[VerdictRow]:
        value = self._values.get((False, bound.metric, where))
        baseline = self._values.get((True, bound.metric, where))
        conditions = [
            ("value", ">=", bound.min),
            ("value", "<=", bound.max),
            ("change", ">=", bound.min_change),
            ("change", "<=", bound.max_change),
        ]
        rows = []
        for kind, sign, limit in conditions:
            if limit is None:
                continue
            if kind == "change" and baseline is None:
                passed = None
            elif value is None:
                passed = False
            else:
                measured = value if kind == "value" else value - baseline
                passed = measured >= limit if sign == ">=" else measured <= limit
            rows.append(
                VerdictRow(
                    metric=bound.metric,
                    slice=self._slice_name(where),
                    kind=kind,
                    value=value,
                    bound=f"{'change ' if kind == 'change' else ''}{sign} {limit:g}",
                    baseline=baseline,
                    passed=passed,
                )
            )
        return rows

    def _slice_name(self, where: tuple) -> str:
        if not where:
            return _OVERALL
        return ", ".join(
            f"{column}={self._labels[int(value)] if column == _LABEL else value}"
            for column, value in where
        )


def _slice_key(slice_key) -> tuple:
    """((column, value as text), ...) of a TFMA slice; () is all examples."""
    pairs = []
    for single in slice_key.single_slice_keys:
        value = getattr(single, single.WhichOneof("kind"))
        text = value.decode() if isinstance(value, bytes) else str(value)
        pairs.append((single.column, text))
    return tuple(pairs)
