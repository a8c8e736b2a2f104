"""The verdict of gate 1: every bound in every slice, and what came of it."""

import dataclasses
from collections.abc import Iterator

from pipeline.config.gate import CROSS_VALIDATED, PER_LABEL, SHARES, Bound, GateConfig
from pipeline.gate.intervals import at_least, wilson
from pipeline.gate.measurements import (
    OVERALL,
    Figure,
    Measurements,
    Slice,
    metric_name,
    slice_name,
)

FORMAT_VERSION = 1
_LABEL = "label"


@dataclasses.dataclass(frozen=True)
class VerdictRow:
    """One condition in one slice."""

    metric: str
    """`accuracy`, or with its label `recall of cat`."""
    slice: str
    """`overall` or `feature=value`; classes by their name."""
    kind: str
    """`value`, or `change` against the latest blessed model."""
    value: float | None
    """The metric of the candidate; None where it cannot be measured."""
    interval: tuple[float, float] | None
    """95 % confidence interval of what is judged: of the value, or of the change."""
    bound: str
    """The condition, e.g. `>= 0.6`, `lower end >= 0.6`, or `change >= -0.02 or 1 photo of 40` where
    one photo is more than the tolerance."""
    baseline: float | None
    """The metric of the latest blessed model; None where there is none."""
    examples: int
    """Number of examples in the slice."""
    photos: int
    """Number of photos that the value is about: of a label's recall those that have the label, of
    its precision those predicted to have it, else those in the slice."""
    passed: bool | None
    """None: the condition was not applied; `note` says why."""
    note: str | None = None
    """Why it was not applied, or could not be met."""


def judge(
    measured: Measurements,
    gate: GateConfig,
    labels: tuple[str, ...],
    cross_validation: dict | None = None,
) -> list[VerdictRow]:
    """Applies every bound in every slice that it is about, in the order of the config.

    A bound without a single slice to be applied in makes a row that failed.

    Args:
        measured: what the Evaluator measured.
        gate: the bounds.
        labels: label names by index.
        cross_validation: content of `cross_validation.json`; None where it was not measured.
    """
    rows = []
    for bound in gate.bounds:
        if bound.metric == CROSS_VALIDATED:
            rows.append(_cross_validated(bound, cross_validation))
            continue
        for label, where in places(measured, bound, labels):
            rows += _rows(measured, gate, bound, label, where)
    return rows


def places(
    measured: Measurements, bound: Bound, labels: tuple[str, ...]
) -> Iterator[tuple[str | None, Slice]]:
    """Every (label or None, slice) that a bound is about."""
    named = [bound.label] if bound.label else labels
    for where in _slices(measured, bound, labels):
        for label in named if bound.metric in PER_LABEL else [None]:
            yield label, where


def too_few(
    measured: Measurements, gate: GateConfig, label: str | None, where: Slice
) -> str | None:
    """Why a bound is not applied to so few photos; None where it is applied."""
    examples, least = measured.examples(where), gate.min_slice_size
    if where and examples < least:
        return f"{examples} examples, fewer than {least}"
    # Without a single photo of the label the bound cannot be judged: that is another outcome.
    if label is not None and 0 < (photos := measured.labelled(label, where)) < least:
        return f"{photos} photo{'s' * (photos != 1)} of the label, fewer than {least}"
    return None


def condition(kind: str, sign: str, limit: float, confident: bool) -> str:
    """A bound as text: `>= 0.6`, `lower end >= 0.6`, `change >= -0.02`."""
    end = {">=": "lower end ", "<=": "upper end "}[sign] if confident else ""
    return f"{'change ' if kind == 'change' else ''}{end}{sign} {limit:g}"


def _slices(measured: Measurements, bound: Bound, labels: tuple[str, ...]) -> list[Slice]:
    if bound.slice_by is None:
        return [OVERALL]
    if bound.slice_by == _LABEL:
        return [((_LABEL, label),) for label in labels]
    found = [s for s in measured.slices if tuple(feature for feature, _ in s) == (bound.slice_by,)]
    return found or [((bound.slice_by, "any"),)]


def _rows(measured, gate, bound: Bound, label: str | None, where: Slice) -> list[VerdictRow]:
    conditions = [
        ("value", ">=", bound.min),
        ("value", "<=", bound.max),
        ("change", ">=", bound.min_change),
        ("change", "<=", bound.max_change),
    ]
    candidate = measured.figure("candidate", bound.metric, label, where)
    baseline = measured.figure("baseline", bound.metric, label, where)
    examples = measured.examples(where)
    photos = measured.photos(bound.metric, label, where)
    rows = []
    for kind, sign, limit in conditions:
        if limit is None:
            continue
        text = condition(kind, sign, limit, bound.confident)
        judged = candidate
        if kind == "change":
            judged = measured.figure("change", bound.metric, label, where)
            if sign == ">=" and _one_photo_is_tolerated(bound, photos):
                limit = -1 / photos
                text += f" or 1 photo of {photos}"
        if not examples:
            passed, note = False, "no example in this slice"
        elif kind == "change" and not measured.has_baseline:
            passed, note = None, "no baseline yet"
        elif few := too_few(measured, gate, label, where):
            passed, note = None, few
        else:
            # What a slice by some column cannot have; overall and by label that is a fault.
            excused = not measured.is_defined(bound.metric, label, where)
            excused = excused and any(feature != _LABEL for feature, _ in where)
            passed, note = _meets(judged, sign, limit, bound.confident, excused)
        rows.append(
            VerdictRow(
                metric=metric_name(bound.metric, label),
                slice=slice_name(where),
                kind=kind,
                value=candidate.value,
                interval=judged.interval,
                bound=text,
                baseline=baseline.value,
                examples=examples,
                photos=photos,
                passed=passed,
                note=note,
            )
        )
    return rows


def _one_photo_is_tolerated(bound: Bound, photos: int) -> bool:
    """Whether one error more than the baseline's is more than a tolerance above 0 allows."""
    tolerates = bound.metric in SHARES and not bound.confident and bound.min_change < 0
    return tolerates and photos > 0 and -1 / photos < bound.min_change


def _cross_validated(bound: Bound, found: dict | None) -> VerdictRow:
    figure, photos = Figure(None), 0
    note = "not measured in this run: only a pretrained network's features are cross-validated"
    passed = False
    if found:
        photos = found["photos"]
        figure = Figure(found["right"] / photos, wilson(found["right"], photos))
        passed, note = _meets(figure, ">=", bound.min, bound.confident, excused=False)
    return VerdictRow(
        metric=bound.metric,
        slice=slice_name(OVERALL),
        kind="value",
        value=figure.value,
        interval=figure.interval,
        bound=condition("value", ">=", bound.min, bound.confident),
        baseline=None,
        examples=photos,
        photos=photos,
        passed=passed,
        note=note,
    )


def _meets(
    judged: Figure, sign: str, limit: float, confident: bool, excused: bool
) -> tuple[bool | None, str | None]:
    if judged.value is None:
        return (None if excused else False), "cannot be measured here"
    if confident and judged.interval is None:
        return False, "too few examples for an interval"
    worst = judged.value
    if confident:
        worst = judged.interval[0 if sign == ">=" else 1]
    return (at_least(worst, limit) if sign == ">=" else at_least(limit, worst)), None
