"""Settings of the two gates."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.section import Section


class Bound(Section):
    """One condition of the quality gate; the model must meet every one."""

    metric: Literal["accuracy", "auc", "loss"]
    """`accuracy` (by slice of `label` it is that class's recall), `auc` (one class against the
    rest, averaged over classes), or `loss` (cross-entropy, lower is better)."""
    slice_by: str | None = None
    """None: over all examples. A feature name, e.g. `label`: in every slice of that feature."""
    min: float | None = None
    """The metric must be at least this."""
    max: float | None = None
    """The metric must be at most this."""
    min_change: float | None = None
    """Metric minus the metric of the latest blessed model must be at least this (a negative
    figure tolerates a loss). Not applied while there is no blessed model."""
    max_change: float | None = None
    """Metric minus the metric of the latest blessed model must be at most this."""

    @model_validator(mode="after")
    def _bounds_something(self):
        if all(v is None for v in (self.min, self.max, self.min_change, self.max_change)):
            raise ValueError("a bound needs one of min, max, min_change, max_change")
        if self.min_change is not None and self.max_change is not None:
            raise ValueError("a bound takes min_change or max_change, not both")
        if self.metric == "auc" and self.slice_by == "label":
            raise ValueError("auc compares classes: it means nothing in a slice of one label")
        return self


class GateConfig(Section):
    """Gate 1: what a model must reach before it is pushed."""

    bounds: tuple[Bound, ...]
    """At least one: a gate without a bound would let every model through."""
    slice_by: tuple[str, ...] = ("label",)
    """Features whose slices are reported beside the overall figures."""

    @model_validator(mode="after")
    def _has_bounds(self):
        if not self.bounds:
            raise ValueError("gate.bounds is empty: every model would pass; set at least one bound")
        conditions = [(bound.metric, bound.slice_by) for bound in self.bounds]
        for condition in conditions:
            if conditions.count(condition) > 1:
                raise ValueError(f"gate.bounds has two entries for (metric, slice_by) {condition}")
        return self


class ServingConfig(Section):
    """Gate 2: the exported model must answer requests in a process with nothing but TensorFlow."""

    check_examples: int = Field(8, ge=1, le=1000)
    """How many real records are sent through each signature."""
    max_probability_difference: float = Field(0.02, gt=0, le=1)
    """Largest difference allowed between the signatures' probabilities for one photo."""
    timeout_s: float = Field(300, gt=0)
    """Seconds until a model that does not answer is refused."""
