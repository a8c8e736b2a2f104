"""The verdict of gate 1: every bound in every slice, and what came of it."""

import dataclasses

from pipeline.gate.measurements import (
    OVERALL,
    Figure,
    Measurements,
    Slice,
    metric_name,
    slice_name,
)
from pipeline.gate.options import PER_LABEL, Bound, GateConfig

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
    """The condition, e.g. `>= 0.6`, `change >= -0.02` or `lower end >= 0.6`."""
    baseline: float | None
    """The metric of the latest blessed model; None where there is none."""
    examples: int
    """Number of examples in the slice."""
    passed: bool | None
    """None: the condition was not applied; `note` says why."""
    note: str | None = None
    """Why it was not applied, or could not be met."""


def judge(measured: Measurements, gate: GateConfig, labels: tuple[str, ...]) -> list[VerdictRow]:
    """Applies every bound in every slice that it is about, in the order of the config.

    A bound without a single slice to be applied in makes a row that failed.
    """
    rows = []
    for bound in gate.bounds:
        named = [bound.label] if bound.label else labels
        for where in _slices(measured, bound, labels):
            for label in named if bound.metric in PER_LABEL else [None]:
                rows += _rows(measured, gate, bound, label, where)
    return rows


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
    rows = []
    for kind, sign, limit in conditions:
        if limit is None:
            continue
        judged = candidate
        if kind == "change":
            judged = measured.figure("change", bound.metric, label, where)
        if not examples:
            passed, note = False, "no example in this slice"
        elif kind == "change" and not measured.has_baseline:
            passed, note = None, "no baseline yet"
        elif examples < gate.min_slice_size and where:
            passed, note = None, f"{examples} examples, fewer than {gate.min_slice_size}"
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
                bound=_condition(kind, sign, limit, bound.confident),
                baseline=baseline.value,
                examples=examples,
                passed=passed,
                note=note,
            )
        )
    return rows


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
    return (worst >= limit if sign == ">=" else worst <= limit), None


def _condition(kind: str, sign: str, limit: float, confident: bool) -> str:
    end = {">=": "lower end ", "<=": "upper end "}[sign] if confident else ""
    return f"{'change ' if kind == 'change' else ''}{end}{sign} {limit:g}"
