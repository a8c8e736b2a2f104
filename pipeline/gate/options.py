"""Settings of the two gates; docs/gate.md tells how to choose them."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.section import Section

PER_LABEL = ("precision", "recall")
_COMPARE_LABELS = ("auc", "precision", "recall", "calibration_error")


class Bound(Section):
    """One condition of the quality gate; the model must meet every one."""

    metric: Literal["accuracy", "auc", "loss", "precision", "recall", "calibration_error"]
    """`accuracy`; `auc` (one label against the rest, averaged over labels); `loss` (cross-entropy
    in nats); `precision` and `recall` (of each label, for the most probable label);
    `calibration_error` (mean distance between predicted and observed frequency, in 0..1)."""
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
    """Metric minus the metric of the latest blessed model must be at least this (a negative
    figure tolerates a loss). Not applied while there is no blessed model."""
    max_change: float | None = None
    """Metric minus the metric of the latest blessed model must be at most this."""
    confident: bool = False
    """True: the worse end of the 95 % confidence interval must meet the bound (its lower end for a
    minimum, its upper end for a maximum), not just the measured figure."""

    @model_validator(mode="after")
    def _bounds_something(self):
        if all(v is None for v in (self.min, self.max, self.min_change, self.max_change)):
            raise ValueError("a bound needs one of min, max, min_change, max_change")
        if self.metric in _COMPARE_LABELS and self.slice_by == "label":
            raise ValueError(
                f"{self.metric} compares labels: it means nothing in a slice of one label"
            )
        if self.label is not None and self.metric not in PER_LABEL:
            raise ValueError(f"label goes with precision and recall, not with {self.metric}")
        return self


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
    """Bounds are not applied to slices with fewer examples; the table says so."""
    intervals: Literal["jackknife", "bootstrap"] | None = None
    """TFMA's method for 95 % confidence intervals. None: none, the fastest."""

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
        if all(bound.min is None and bound.max is None for bound in self.bounds):
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
        if self.intervals is None and any(bound.confident for bound in self.bounds):
            raise ValueError(
                "a bound is confident and gate.intervals is not set: choose jackknife or bootstrap"
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
    latency_calls: int = Field(50, ge=1)
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


class Forced(Section):
    """A blessing that somebody gives against the bounds of gate 1."""

    by: str = Field(min_length=1)
    """Who."""
    reason: str = Field(min_length=1)
    """Why."""
