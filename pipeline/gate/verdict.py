"""The verdict of gate 1: the outcome of every bound in every slice."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from data.record.records import LABEL
from pipeline.config.gate import CROSS_VALIDATED, PER_LABEL, SHARES, Bound, GateConfig
from pipeline.gate.intervals import at_least, wilson
from pipeline.gate.measurements import (
    OVERALL,
    Measurements,
    MetricValue,
    SliceKey,
    metric_name,
    slice_name,
)

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class VerdictRow:
    """The outcome of one condition in one slice."""

    metric: str
    """`accuracy`, or `recall of cat` for a metric of one label."""
    slice: str
    """`overall` or `feature=value`; labels by name."""
    kind: str
    """`value`, or `change` against the latest blessed model."""
    value: float | None
    """The candidate's metric; None if it is undefined."""
    interval: tuple[float, float] | None
    """95 % confidence interval of the value or of the change, as `kind` says."""
    bound: str
    """The condition, e.g. `>= 0.6`, `lower end >= 0.6`, or `change >= -0.02 or 1 photo of 40` if
    one photo is more than the tolerance."""
    baseline: float | None
    """The metric of the latest blessed model; None without one."""
    examples: int
    """Number of examples in the slice."""
    photos: int
    """Denominator of the value: for a label's recall the photos that have the label, for its
    precision those predicted to have it, for other metrics the photos in the slice."""
    passed: bool | None
    """None if the condition was not applied; `note` says why."""
    note: str | None = None
    """Why the condition was not applied or could not be met."""


def apply_bounds(
    measured: Measurements,
    gate: GateConfig,
    labels: tuple[str, ...],
    cross_validation: dict[str, Any] | None = None,
) -> list[VerdictRow]:
    """Applies every bound in every slice that it covers, in the order of the config.

    A bound without any slice gives a row that failed.

    Args:
        measured: the Evaluator's measurements.
        gate: the bounds.
        labels: label names by index.
        cross_validation: content of `cross_validation.json`; None if it was not measured.
    """
    rows = []
    for bound in gate.bounds:
        if bound.metric == CROSS_VALIDATED:
            rows.append(_cross_validated(bound, cross_validation))
            continue
        for label, slice_key in bound_scopes(measured, bound, labels):
            rows += _rows(measured, gate, bound, label, slice_key)
    return rows


def bound_scopes(
    measured: Measurements, bound: Bound, labels: tuple[str, ...]
) -> Iterator[tuple[str | None, SliceKey]]:
    """Yields each (label or None, slice) that a bound covers."""
    of_labels = [bound.label] if bound.label else labels
    for slice_key in _slices(measured, bound, labels):
        for label in of_labels if bound.metric in PER_LABEL else [None]:
            yield label, slice_key


def skip_reason(
    measured: Measurements, gate: GateConfig, label: str | None, slice_key: SliceKey
) -> str | None:
    """Returns why so few photos exempt a label or slice from a bound; None if they do not."""
    examples, least = measured.examples(slice_key), gate.min_slice_size
    if slice_key and examples < least:
        return f"{examples} examples, fewer than {least}"
    # A label without any photo is not exempt: its bound cannot be evaluated, so it fails.
    if label is not None and 0 < (photos := measured.labelled(label, slice_key)) < least:
        return f"{photos} photo{'s' * (photos != 1)} of the label, fewer than {least}"
    return None


def format_condition(kind: str, sign: str, limit: float, confident: bool) -> str:
    """Formats a condition.

    Example:
        >>> format_condition("value", ">=", 0.6, confident=True)
        'lower end >= 0.6'
        >>> format_condition("change", ">=", -0.02, confident=False)
        'change >= -0.02'
    """
    end = {">=": "lower end ", "<=": "upper end "}[sign] if confident else ""
    return f"{'change ' if kind == 'change' else ''}{end}{sign} {limit:g}"


def _slices(measured: Measurements, bound: Bound, labels: tuple[str, ...]) -> list[SliceKey]:
    if bound.slice_by is None:
        return [OVERALL]
    if bound.slice_by == LABEL:
        return [((LABEL, label),) for label in labels]
    found = [s for s in measured.slices if tuple(feature for feature, _ in s) == (bound.slice_by,)]
    return found or [((bound.slice_by, "any"),)]


def _rows(
    measured: Measurements, gate: GateConfig, bound: Bound, label: str | None, slice_key: SliceKey
) -> list[VerdictRow]:
    conditions = [
        ("value", ">=", bound.min),
        ("value", "<=", bound.max),
        ("change", ">=", bound.min_change),
        ("change", "<=", bound.max_change),
    ]
    candidate = measured.get("candidate", bound.metric, label, slice_key)
    baseline = measured.get("baseline", bound.metric, label, slice_key)
    examples = measured.examples(slice_key)
    photos = measured.photos(bound.metric, label, slice_key)
    rows = []
    for kind, sign, limit in conditions:
        if limit is None:
            continue
        text = format_condition(kind, sign, limit, bound.confident)
        bounded = candidate
        if kind == "change":
            bounded = measured.get("change", bound.metric, label, slice_key)
            if sign == ">=" and _tolerates_one_photo(bound, limit, photos):
                limit = -1 / photos
                text += f" or 1 photo of {photos}"
        passed: bool | None
        note: str | None
        if not examples:
            passed, note = False, "no example in this slice"
        elif kind == "change" and not measured.has_baseline:
            passed, note = None, "no baseline yet"
        elif reason := skip_reason(measured, gate, label, slice_key):
            passed, note = None, reason
        else:
            # A slice by a column may lack a label; overall and in slices by label that is an error.
            may_be_undefined = not measured.is_defined(bound.metric, label, slice_key) and any(
                feature != LABEL for feature, _ in slice_key
            )
            passed, note = _meets(bounded, sign, limit, bound.confident, may_be_undefined)
        rows.append(
            VerdictRow(
                metric=metric_name(bound.metric, label),
                slice=slice_name(slice_key),
                kind=kind,
                value=candidate.value,
                interval=bounded.interval,
                bound=text,
                baseline=baseline.value,
                examples=examples,
                photos=photos,
                passed=passed,
                note=note,
            )
        )
    return rows


def _tolerates_one_photo(bound: Bound, limit: float, photos: int) -> bool:
    """Returns whether one more error than the baseline's is tolerated although below `limit`.

    It is for every tolerance above 0 of a metric that is a share of photos.
    """
    tolerates = bound.metric in SHARES and not bound.confident and limit < 0
    return tolerates and photos > 0 and -1 / photos < limit


def _cross_validated(bound: Bound, found: dict[str, Any] | None) -> VerdictRow:
    assert bound.min is not None  # `Bound` allows no other limit for this metric.
    measured, photos = MetricValue(None), 0
    passed: bool | None = False
    note: str | None = (
        "not measured in this run: cross-validation needs the features of a pretrained network"
    )
    if found:
        photos = found["photos"]
        measured = MetricValue(found["right"] / photos, wilson(found["right"], photos))
        passed, note = _meets(measured, ">=", bound.min, bound.confident, may_be_undefined=False)
    return VerdictRow(
        metric=bound.metric,
        slice=slice_name(OVERALL),
        kind="value",
        value=measured.value,
        interval=measured.interval,
        bound=format_condition("value", ">=", bound.min, bound.confident),
        baseline=None,
        examples=photos,
        photos=photos,
        passed=passed,
        note=note,
    )


def _meets(
    measured: MetricValue, sign: str, limit: float, confident: bool, may_be_undefined: bool
) -> tuple[bool | None, str | None]:
    """Returns `passed` and `note` of a row."""
    if measured.value is None:
        return (None if may_be_undefined else False), "cannot be measured here"
    value = measured.value
    if confident:
        if measured.interval is None:
            return False, "too few examples for an interval"
        value = measured.interval[0 if sign == ">=" else 1]
    return (at_least(value, limit) if sign == ">=" else at_least(limit, value)), None
