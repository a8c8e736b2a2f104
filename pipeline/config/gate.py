"""Settings of the two gates; docs/gate.md describes how to choose them."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section

PER_LABEL = ("precision", "recall")
SHARES = ("accuracy", *PER_LABEL)
"""Metrics that are a share of correct predictions."""
CROSS_VALIDATED = "cross_validated_accuracy"
_COMPARE_LABELS = ("auc", "precision", "recall", "calibration_error")
_TRIVIAL = {"max": 1, "min_change": -1, "max_change": 1}
"""Limits that every model meets. `min: 0` is allowed: it adds a row to the table."""
_UP_TO_ONE = (*SHARES, "auc", "calibration_error", CROSS_VALIDATED)


class Bound(Section):
    """One condition of the quality gate; a model must meet all of them."""

    metric: Literal[
        "accuracy",
        "auc",
        "loss",
        "precision",
        "recall",
        "calibration_error",
        "cross_validated_accuracy",
    ]
    """`accuracy`; `auc` (one-vs-rest, averaged over labels); `loss` (cross-entropy in nats);
    `precision` and `recall` (of each label, for the most probable label); `calibration_error`
    (mean distance between predicted and observed frequency, in 0..1); `cross_validated_accuracy`
    (over all images, measured on heads trained for the cross-validation, not on the model itself;
    takes `min` and `confident` only)."""
    label: str | None = None
    """Label that `precision` or `recall` is measured for. None: every label."""
    slice_by: str | None = None
    """Feature whose slices must each meet the bound: `label`, `image_size` or another column of the
    Image CSV. None: the bound applies to all examples together."""
    min: float | None = None
    """Lower bound of the metric."""
    max: float | None = None
    """Upper bound of the metric."""
    min_change: float | None = None
    """Lower bound of the change: the metric minus that of the latest blessed model. A negative
    bound tolerates a decrease; accuracy, precision and recall always tolerate a decrease by one
    example. Not applied without a blessed model."""
    max_change: float | None = None
    """Upper bound of the change: the metric minus that of the latest blessed model."""
    confident: bool = False
    """Whether the worse end of the 95 % confidence interval must meet the bound (the lower end for
    a minimum, the upper end for a maximum), not only the measured value. Changes, auc, loss and
    calibration_error have an interval only with `gate.intervals`."""

    @model_validator(mode="after")
    def _check(self) -> "Bound":
        if all(v is None for v in (self.min, self.max, self.min_change, self.max_change)):
            raise ValueError("a bound needs one of min, max, min_change, max_change")
        self._check_limits()
        if self.metric in _COMPARE_LABELS and self.slice_by == "label":
            raise ValueError(
                f"{self.metric} compares labels and cannot be measured in a slice of one label; "
                "remove slice_by: label"
            )
        if self.label is not None and self.metric not in PER_LABEL:
            raise ValueError(f"label is for precision and recall, not for {self.metric}")
        others = (self.max, self.min_change, self.max_change, self.slice_by)
        if self.metric == CROSS_VALIDATED and any(value is not None for value in others):
            raise ValueError(f"{CROSS_VALIDATED} takes min and confident only")
        return self

    @property
    def needs_intervals(self) -> bool:
        """Whether the bound needs a confidence interval that only `gate.intervals` provides."""
        changes = self.min_change is not None or self.max_change is not None
        return self.confident and (changes or self.metric not in (*SHARES, CROSS_VALIDATED))

    def _check_limits(self) -> None:
        for name in ("min", "max", "min_change", "max_change"):
            limit = getattr(self, name)
            if limit is None:
                continue
            lowest = -1 if name.endswith("change") else 0
            if self.metric in _UP_TO_ONE and not lowest <= limit <= 1:
                raise ValueError(
                    f"{name} of {self.metric} must be within {lowest}..1. Received: {name}={limit}"
                )
            if self.metric in _UP_TO_ONE and limit == _TRIVIAL.get(name):
                raise ValueError(f"{name}={limit:g} of {self.metric} refuses no model")


def _default_edges() -> dict[str, tuple[float, ...]]:
    return {"image_size": (128, 512)}


class GateConfig(Section):
    """Gate 1: the conditions that a model must meet to be pushed."""

    bounds: tuple[Bound, ...]
    """The conditions; at least one."""
    slice_by: tuple[str, ...] = ("label",)
    """Features whose slices are reported in addition to the overall metrics: `label`, `image_size`
    (the longer side in pixels) or other columns of the Image CSV, which the records then keep."""
    edges: dict[str, tuple[float, ...]] = Field(default_factory=_default_edges)
    """Boundaries between the slices of a numeric feature: {feature: ascending edges}. Two edges
    make three slices; a feature without edges has one slice for each value."""
    min_slice_size: int = Field(1, ge=1)
    """Minimum number of examples of a slice or label. Bounds do not apply to smaller slices, nor to
    the precision or recall of labels with fewer examples; the table marks them."""
    cross_validate: bool | None = None
    """Whether to cross-validate the accuracy over all images, with heads trained on the features of
    the pretrained network. None: if the test split has fewer than 100 images, or a bound on
    `cross_validated_accuracy` is set."""
    intervals: Literal["jackknife", "bootstrap"] | None = None
    """TFMA's method for the 95 % confidence intervals of all metrics and changes. None (fastest):
    Wilson intervals for accuracy, precision and recall, no intervals for the rest."""

    @field_validator("edges")
    @classmethod
    def _check_edges(cls, edges: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        for feature, values in edges.items():
            if not values or list(values) != sorted(set(values)):
                raise ValueError(f"the edges of {feature} must ascend. Received: {list(values)}")
        return edges

    @model_validator(mode="after")
    def _check_bounds(self) -> "GateConfig":
        if not self.bounds:
            raise ValueError("gate.bounds is empty: every model would pass; set at least one bound")
        on_model = [bound for bound in self.bounds if bound.metric != CROSS_VALIDATED]
        if not on_model:
            raise ValueError(
                f"gate.bounds has only {CROSS_VALIDATED}, which is not measured on the pushed "
                "model; add a bound on another metric"
            )
        if all(bound.min is None and bound.max is None for bound in on_model):
            raise ValueError(
                "gate.bounds has only changes against a blessed model: the first model would pass "
                "unchecked; add a min or max"
            )
        conditions = [(b.metric, b.label, b.slice_by, b.confident) for b in self.bounds]
        for condition in conditions:
            if conditions.count(condition) > 1:
                raise ValueError(
                    "gate.bounds has two entries for (metric, label, slice_by, confident) "
                    f"{condition}"
                )
        without_interval = [bound.metric for bound in self.bounds if bound.needs_intervals]
        if self.intervals is None and without_interval:
            raise ValueError(
                f"a bound on {without_interval[0]} is confident and gate.intervals is not set: set "
                "it to jackknife or bootstrap. Without it, only min and max of accuracy, precision "
                "and recall have an interval"
            )
        return self

    def sliced_features(self) -> tuple[str, ...]:
        """All features that are sliced by, in the order of the config."""
        in_bounds = (bound.slice_by for bound in self.bounds if bound.slice_by)
        return tuple(dict.fromkeys([*self.slice_by, *in_bounds]))


class ServingConfig(Section):
    """Gate 2: the exported model must answer requests in a process of its own."""

    validator: Literal["process", "tfserving"] = "process"
    """`process`: run the checks below in a new process that imports TensorFlow only. `tfserving`:
    run TFX's InfraValidator, which sends requests to TensorFlow Serving in a Docker container; it
    uses only `timeout_s`, `check_examples` and `image`."""
    image: str = "tensorflow/serving:latest"
    """Docker image of TensorFlow Serving for `tfserving`."""
    check_examples: int = Field(8, ge=1, le=1000)
    """Number of records to send to each signature."""
    batch_sizes: tuple[int, ...] = (1, 32)
    """Batch sizes that must give the same predictions."""
    max_probability_difference: float = Field(0.02, gt=0, le=1)
    """Maximum difference between the signatures' probabilities for one image, and between those of
    the exported and the trained model."""
    latency_calls: int = Field(20, ge=1)
    """Number of timed requests of one image, per signature."""
    max_p50_ms: float = Field(1000, gt=0)
    """Maximum median latency of these requests in milliseconds."""
    max_p99_ms: float = Field(5000, gt=0)
    """Maximum 99th percentile of the latency of these requests in milliseconds."""
    max_memory_mb: float = Field(4096, gt=0)
    """Maximum peak resident memory of the process in MiB, including TensorFlow's own."""
    timeout_s: float = Field(300, gt=0)
    """Seconds after which a model that does not answer is refused."""

    @field_validator("batch_sizes")
    @classmethod
    def _check_batch_sizes(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if not sizes or min(sizes) < 1:
            raise ValueError("batch_sizes must hold at least one size, each 1 or more")
        return sizes


class Override(Section):
    """A blessing by a user that overrides the verdict of gate 1."""

    by: str = Field(min_length=1)
    """Name of the user."""
    reason: str = Field(min_length=1)
    """Reason that the user gave."""
