"""Settings of the two gates; docs/gate.md tells how to choose them."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section

PER_LABEL = ("precision", "recall")
SHARES = ("accuracy", *PER_LABEL)
"""Metrics that count photos: the right ones among those that the metric is about."""
CROSS_VALIDATED = "cross_validated_accuracy"
_COMPARE_LABELS = ("auc", "precision", "recall", "calibration_error")
_IDLE = {"max": 1, "min_change": -1, "max_change": 1}
"""Limits that every share meets. `min: 0` is one too, and allowed: it puts a row in the table."""
_UP_TO_ONE = (*SHARES, "auc", "calibration_error", CROSS_VALIDATED)


class Bound(Section):
    """One condition of the quality gate; the model must meet every one."""

    metric: Literal[
        "accuracy",
        "auc",
        "loss",
        "precision",
        "recall",
        "calibration_error",
        "cross_validated_accuracy",
    ]
    """`accuracy`; `auc` (one label against the rest, averaged over labels); `loss` (cross-entropy
    in nats); `precision` and `recall` (of each label, for the most probable label);
    `calibration_error` (mean distance between predicted and observed frequency, in 0..1);
    `cross_validated_accuracy` (over all photos, of heads that are trained for it and not of the
    model itself; `min` and `confident` only)."""
    label: str | None = None
    """For `precision` and `recall`: this label only. None: every label."""
    slice_by: str | None = None
    """None: over all examples. A feature, e.g. `label`, `image_size` or a further column of the
    Image CSV: in every slice of that feature."""
    min: float | None = None
    """The metric must be at least this."""
    max: float | None = None
    """The metric must be at most this."""
    min_change: float | None = None
    """Metric minus the metric of the latest blessed model must be at least this. A negative figure
    tolerates a loss; for accuracy, precision and recall always that of one photo. Not applied
    while there is no blessed model."""
    max_change: float | None = None
    """Metric minus the metric of the latest blessed model must be at most this."""
    confident: bool = False
    """True: the worse end of the 95 % confidence interval must meet the bound (its lower end for a
    minimum, its upper end for a maximum), not just the measured figure. Changes, auc, loss and
    calibration_error have an interval with `gate.intervals` only."""

    @model_validator(mode="after")
    def _bounds_something(self):
        if all(v is None for v in (self.min, self.max, self.min_change, self.max_change)):
            raise ValueError("a bound needs one of min, max, min_change, max_change")
        self._limits_mean_something()
        if self.metric in _COMPARE_LABELS and self.slice_by == "label":
            raise ValueError(
                f"{self.metric} compares labels: it means nothing in a slice of one label"
            )
        if self.label is not None and self.metric not in PER_LABEL:
            raise ValueError(f"label goes with precision and recall, not with {self.metric}")
        others = (self.max, self.min_change, self.max_change, self.slice_by)
        if self.metric == CROSS_VALIDATED and any(value is not None for value in others):
            raise ValueError(f"{CROSS_VALIDATED} takes min and confident, nothing else")
        return self

    @property
    def needs_intervals(self) -> bool:
        """Whether it is confident about something that has no interval without TFMA's method."""
        changes = self.min_change is not None or self.max_change is not None
        return self.confident and (changes or self.metric not in (*SHARES, CROSS_VALIDATED))

    def _limits_mean_something(self) -> None:
        for name in ("min", "max", "min_change", "max_change"):
            limit = getattr(self, name)
            if limit is None:
                continue
            lowest = -1 if name.endswith("change") else 0
            if self.metric in _UP_TO_ONE and not lowest <= limit <= 1:
                raise ValueError(
                    f"{name} of {self.metric} must be within {lowest}..1. Received: {name}={limit}"
                )
            if self.metric in _UP_TO_ONE and limit == _IDLE.get(name):
                raise ValueError(f"{name}={limit:g} of {self.metric} refuses no model")


class GateConfig(Section):
    """Gate 1: what a model must reach before it is pushed."""

    bounds: tuple[Bound, ...]
    """At least one: a gate without a bound would let every model through."""
    slice_by: tuple[str, ...] = ("label",)
    """Features whose slices are reported beside the overall figures: `label`, `image_size` (the
    longer side in pixels), or further columns of the Image CSV, which the records then keep."""
    edges: dict[str, tuple[float, ...]] = Field(default_factory=lambda: {"image_size": (128, 512)})
    """Where the slices of a number begin: {feature: ascending edges}. Two edges make three slices;
    a feature without edges is sliced by each of its values."""
    min_slice_size: int = Field(1, ge=1)
    """Bounds are not applied to slices with fewer examples, nor is a label's precision or recall
    to a label with fewer; the table says so."""
    cross_validate: bool | None = None
    """Whether the accuracy over all photos is cross-validated, with heads on the features of the
    pretrained network. None: where fewer than 100 photos are for testing, or a bound asks."""
    intervals: Literal["jackknife", "bootstrap"] | None = None
    """TFMA's method for 95 % confidence intervals of everything. None, the fastest: Wilson's for
    accuracy, precision and recall, none for other metrics and for changes."""

    @field_validator("edges")
    @classmethod
    def _edges_ascend(cls, edges):
        for feature, values in edges.items():
            if not values or list(values) != sorted(set(values)):
                raise ValueError(f"the edges of {feature} must ascend, received {list(values)}")
        return edges

    @model_validator(mode="after")
    def _has_bounds(self):
        if not self.bounds:
            raise ValueError("gate.bounds is empty: every model would pass; set at least one bound")
        of_model = [bound for bound in self.bounds if bound.metric != CROSS_VALIDATED]
        if not of_model:
            raise ValueError(
                f"gate.bounds has {CROSS_VALIDATED} only, which is not measured on the pushed "
                "model; set a bound of another metric too"
            )
        if all(bound.min is None and bound.max is None for bound in of_model):
            raise ValueError(
                "gate.bounds has only changes against a blessed model: the first model would pass "
                "unjudged; set a min or max too"
            )
        conditions = [(b.metric, b.label, b.slice_by, b.confident) for b in self.bounds]
        for condition in conditions:
            if conditions.count(condition) > 1:
                raise ValueError(
                    "gate.bounds has two entries for (metric, label, slice_by, confident) "
                    f"{condition}"
                )
        needing = [bound.metric for bound in self.bounds if bound.needs_intervals]
        if self.intervals is None and needing:
            raise ValueError(
                f"a bound of {needing[0]} is confident and gate.intervals is not set: choose "
                "jackknife or bootstrap. Without it only min and max of accuracy, precision and "
                "recall have an interval, and no change has one"
            )
        return self

    def sliced_features(self) -> tuple[str, ...]:
        """All features of which slices are made, in the order of the config."""
        of_bounds = (bound.slice_by for bound in self.bounds if bound.slice_by)
        return tuple(dict.fromkeys([*self.slice_by, *of_bounds]))


class ServingConfig(Section):
    """Gate 2: the exported model must answer requests in a process with nothing but TensorFlow."""

    validator: Literal["process", "tfserving"] = "process"
    """`process`: the checks below in a fresh process. `tfserving`: TFX's InfraValidator, which asks
    TensorFlow Serving in a Docker container instead; only `timeout_s`, `check_examples` and
    `image` count then."""
    image: str = "tensorflow/serving:latest"
    """Docker image of TensorFlow Serving, for `tfserving`."""
    check_examples: int = Field(8, ge=1, le=1000)
    """How many real records are sent through each signature."""
    batch_sizes: tuple[int, ...] = (1, 32)
    """A request of any of these sizes must get the same answers."""
    max_probability_difference: float = Field(0.02, gt=0, le=1)
    """Largest difference allowed between the signatures' probabilities for one photo, and between
    the exported model's and the trained model's."""
    latency_calls: int = Field(20, ge=1)
    """Requests of one photo that are timed, per signature."""
    max_p50_ms: float = Field(1000, gt=0)
    """Half of these requests must be answered within so many milliseconds."""
    max_p99_ms: float = Field(5000, gt=0)
    """99 of 100 of these requests must be answered within so many milliseconds."""
    max_memory_mb: float = Field(4096, gt=0)
    """Largest memory (resident MiB at the peak) of the process, TensorFlow's own included."""
    timeout_s: float = Field(300, gt=0)
    """Seconds until a model that does not answer is refused."""

    @field_validator("batch_sizes")
    @classmethod
    def _batches_hold_something(cls, sizes):
        if not sizes or min(sizes) < 1:
            raise ValueError("batch_sizes needs whole numbers from 1")
        return sizes


class Override(Section):
    """A blessing that somebody gives against the bounds of gate 1."""

    by: str = Field(min_length=1)
    """Who."""
    reason: str = Field(min_length=1)
    """Why."""
