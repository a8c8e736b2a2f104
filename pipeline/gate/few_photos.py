"""What a verdict on few photos is worth, in words."""

import math

from pipeline.artifacts.names import FEW_PHOTOS
from pipeline.config.gate import SHARES, Bound, GateConfig
from pipeline.gate.intervals import binomial_tail, fewest_right, photos_needed, wilson
from pipeline.gate.measurements import Measurements, Slice
from pipeline.gate.verdict import condition, places, too_few

_WIDE = 0.1
_CHANCE = 0.05
_LABEL = "label"


def few_photos(
    measured: Measurements, gate: GateConfig, labels: tuple[str, ...], split: str
) -> list[str]:
    """Sentences about what so few photos cannot show; empty where there are enough.

    They tell the interval of the accuracy, and every minimum of accuracy, precision or recall that
    a model that guesses meets with a probability over 5 %.

    Args:
        measured: what the Evaluator measured.
        gate: the bounds.
        labels: label names by index.
        split: the split that was measured.
    """
    sentences = [_accuracy(measured, split)]
    sentences += [_bound(measured, gate, bound, labels) for bound in gate.bounds]
    return [sentence for sentence in sentences if sentence]


def _accuracy(measured: Measurements, split: str) -> str | None:
    figure = measured.figure("candidate", "accuracy", None, ())
    photos = measured.photos("accuracy", None, ())
    if figure.value is None:
        return None
    low, high = wilson(round(figure.value * photos), photos)
    if photos >= FEW_PHOTOS and high - low <= _WIDE:
        return None
    return (
        f"{photos} {split} photos: an accuracy of {figure.value:.3f} stands for anything from "
        f"{low:.3f} to {high:.3f}"
    )


def _bound(
    measured: Measurements, gate: GateConfig, bound: Bound, labels: tuple[str, ...]
) -> str | None:
    if bound.metric not in SHARES or not bound.min:
        return None
    # (photos, probability that each is right if the model guesses) where the bound is applied
    applied = []
    for label, where in places(measured, bound, labels):
        photos = measured.photos(bound.metric, label, where)
        if photos and not too_few(measured, gate, label, where):
            applied.append((photos, _guess(measured, bound, label, where, labels)))
    if not applied:
        return None
    name = bound.metric if bound.label is None else f"{bound.metric} of {bound.label}"
    asked = condition("value", ">=", bound.min, bound.confident)
    subject = f"{name} {asked} on {_counts(bound, [photos for photos, _ in applied])}"
    needed = [fewest_right(bound.min, photos, bound.confident) for photos, _ in applied]
    if None in needed:
        if gate.intervals or bound.min >= 1:
            return None
        least = photos_needed(bound.min, errors=0)
        return f"{subject}: not even a model without an error meets it with fewer than {least}"
    if not _is_about_chance(bound) and bound.min <= min(p for _, p in applied):
        return None
    chances = [
        binomial_tail(right, photos, p) for right, (photos, p) in zip(needed, applied, strict=True)
    ]
    # Rows of recall and of slices are about different photos, so their chances multiply. Those of
    # precision are not independent: all are met at most as often as the least likely one.
    chance = min(chances) if bound.metric == "precision" else math.prod(chances)
    if chance <= _CHANCE:
        return None
    return f"{subject}: a model that guesses meets it {round(100 * chance)} times of 100"


def _is_about_chance(bound: Bound) -> bool:
    """Whether a minimum below chance is worth a word.

    Of one label or slice it only keeps a model from forgetting it.
    """
    return bound.metric == "accuracy" and bound.slice_by is None


def _guess(
    measured: Measurements,
    bound: Bound,
    label: str | None,
    where: Slice,
    labels: tuple[str, ...],
) -> float:
    """Share of right photos that the better of two guesses reaches.

    Either always the most frequent label or one of all at random; the former has no recall in the
    other labels.
    """
    uniform = 1 / len(labels)
    shares = [measured.labelled(name, where) / measured.examples(where) for name in labels]
    if bound.metric == "precision":
        return shares[labels.index(label)]
    if bound.metric == "recall" or bound.slice_by == _LABEL:
        return uniform
    return max(uniform, *shares)


def _counts(bound: Bound, photos: list[int]) -> str:
    low, high = min(photos), max(photos)
    things = "predictions" if bound.metric == "precision" else "photos"
    if low == high == 1:
        things = things[:-1]
    parts = ["label"] if bound.metric != "accuracy" and bound.label is None else []
    parts += [bound.slice_by] if bound.slice_by else []
    of = f" of each {' and '.join(parts)}" if parts else ""
    return f"{low if low == high else f'{low} to {high}'} {things}{of}"
