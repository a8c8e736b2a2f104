"""Warnings about verdicts that rest on few photos."""

import math

from data.record.records import LABEL
from pipeline.artifacts.names import FEW_PHOTOS
from pipeline.config.gate import SHARES, Bound, GateConfig
from pipeline.gate.intervals import binomial_tail, fewest_right, photos_needed, wilson
from pipeline.gate.measurements import OVERALL, Measurements, SliceKey
from pipeline.gate.verdict import bound_scopes, format_condition, skip_reason

_WIDE = 0.1
_CHANCE = 0.05


def few_photos(
    measured: Measurements, gate: GateConfig, labels: tuple[str, ...], split: str
) -> list[str]:
    """Returns what so few photos cannot show, a sentence each; empty if there are enough.

    One sentence gives the interval of the accuracy. Others name every minimum of accuracy,
    precision or recall that a random guess meets with a probability above 5 %.

    Args:
        measured: the Evaluator's measurements.
        gate: the bounds.
        labels: label names by index.
        split: name of the measured split.
    """
    sentences = [_accuracy(measured, split)]
    sentences += [_bound(measured, gate, bound, labels) for bound in gate.bounds]
    return [sentence for sentence in sentences if sentence]


def _accuracy(measured: Measurements, split: str) -> str | None:
    accuracy = measured.get("candidate", "accuracy", None, OVERALL).value
    if accuracy is None:
        return None
    photos = measured.photos("accuracy", None, OVERALL)
    low, high = wilson(round(accuracy * photos), photos)
    if photos >= FEW_PHOTOS and high - low <= _WIDE:
        return None
    return (
        f"{photos} {split} photos: the 95 % interval of the accuracy {accuracy:.3f} is "
        f"{low:.3f} to {high:.3f}"
    )


def _bound(
    measured: Measurements, gate: GateConfig, bound: Bound, labels: tuple[str, ...]
) -> str | None:
    if bound.metric not in SHARES or not bound.min:
        return None
    # Where the bound is applied: the number of photos, and the probability that a guess is right.
    applied = []
    for label, slice_key in bound_scopes(measured, bound, labels):
        photos = measured.photos(bound.metric, label, slice_key)
        if photos and not skip_reason(measured, gate, label, slice_key):
            applied.append((photos, _guess(measured, bound, label, slice_key, labels)))
    if not applied:
        return None
    name = bound.metric if bound.label is None else f"{bound.metric} of {bound.label}"
    condition = format_condition("value", ">=", bound.min, bound.confident)
    subject = f"{name} {condition} on {_counts(bound, [photos for photos, _ in applied])}"
    chances = []
    for photos, p in applied:
        needed = fewest_right(bound.min, photos, bound.confident)
        if needed is None:
            if gate.intervals or bound.min >= 1:
                return None
            least = photos_needed(bound.min, errors=0)
            return f"{subject}: even a model without errors needs at least {least} photos"
        chances.append(binomial_tail(needed, photos, p))
    if not _compares_with_chance(bound) and bound.min <= min(p for _, p in applied):
        return None
    # Rows of recall and of slices count different photos, so their probabilities multiply. Rows of
    # precision are dependent: all are met at most as often as the least likely one.
    chance = min(chances) if bound.metric == "precision" else math.prod(chances)
    if chance <= _CHANCE:
        return None
    return f"{subject}: a random guess meets it {round(100 * chance)} times in 100"


def _compares_with_chance(bound: Bound) -> bool:
    """Returns whether a minimum below chance deserves a warning.

    The minimum of a label or slice does not: it only ensures that the model does not ignore it.
    """
    return bound.metric == "accuracy" and bound.slice_by is None


def _guess(
    measured: Measurements,
    bound: Bound,
    label: str | None,
    slice_key: SliceKey,
    labels: tuple[str, ...],
) -> float:
    """Returns the expected share of right photos of the better of two guesses.

    The guesses are a label at random and always the most frequent label. The latter has no recall
    of other labels.
    """
    uniform = 1 / len(labels)
    shares = [measured.labelled(name, slice_key) / measured.examples(slice_key) for name in labels]
    if bound.metric == "precision":
        return shares[labels.index(label)]
    if bound.metric == "recall" or bound.slice_by == LABEL:
        return uniform
    return max(uniform, *shares)


def _counts(bound: Bound, photos: list[int]) -> str:
    """Formats numbers of photos: `3 to 4 photos of each label`."""
    low, high = min(photos), max(photos)
    noun = "predictions" if bound.metric == "precision" else "photos"
    if low == high == 1:
        noun = noun[:-1]
    parts = ["label"] if bound.metric != "accuracy" and bound.label is None else []
    parts += [bound.slice_by] if bound.slice_by else []
    of = f" of each {' and '.join(parts)}" if parts else ""
    return f"{low if low == high else f'{low} to {high}'} {noun}{of}"
