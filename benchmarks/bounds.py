"""Computes the error rates of a config's bounds, and the test photos that a bound needs.

    python -m benchmarks.bounds [CONFIG]

The probabilities are exact (binomial sums); nothing is trained. The bounds are those on overall
accuracy and recall of conf/base.yaml, overridden by CONFIG.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass

from pipeline.config.files import load_config
from pipeline.config.gate import Bound, GateConfig
from pipeline.gate.intervals import binomial_tail, fewest_right, photos_needed, wilson

_MINIMA = (0.8, 0.9, 0.95, 0.99)
_ERRORS = (0, 1, 2, 5, 10)
_PHOTOS = (10, 20, 40, 100)


@dataclass(frozen=True)
class Case:
    """A model on a test split."""

    name: str
    split: str
    labels: tuple[tuple[int, float], ...]
    """Number of photos of each label, and the probability of a correct prediction."""


CASES = (
    Case("right on 99 %", "2 labels, 20 photos each", ((20, 0.99),) * 2),
    Case("right on 87 %", "5 labels, 6 photos each", ((6, 0.87),) * 5),
    Case("the same, one label on 70 %", "the same", ((6, 0.91),) * 4 + ((6, 0.7),)),
    Case("right on 87 %", "40 labels, 2 photos each", ((2, 0.87),) * 40),
    Case("right on 87 %", "40 labels, 5 photos each", ((5, 0.87),) * 40),
    Case("broken: right on 60 %", "2 labels, 20 photos each", ((20, 0.6),) * 2),
    Case("broken: 95 % of one label, 25 % of the other", "the same", ((20, 0.95), (20, 0.25))),
    Case("broken: right on 50 %", "5 labels, 6 photos each", ((6, 0.5),) * 5),
    Case("guesses", "2 labels, 20 photos each", ((20, 0.5),) * 2),
    Case("always the label of 30 photos", "2 labels, 30 and 10 photos", ((30, 1.0), (10, 0.0))),
)


def passes(gate: GateConfig, case: Case) -> float:
    """Returns the probability that a first model meets the bounds on accuracy and recall."""
    bounds = [bound for bound in gate.bounds if bound.slice_by is None and bound.min]
    recall = [bound for bound in bounds if bound.metric == "recall" and bound.label is None]
    right = {0: 1.0}  # number of correct photos so far -> its probability with all bounds met
    for photos, share in case.labels:
        least = _least(recall, photos) if photos >= gate.min_slice_size else 0
        following = defaultdict(float)
        for before, probability in right.items():
            for k in range(least, photos + 1):
                exactly = binomial_tail(k, photos, share) - binomial_tail(k + 1, photos, share)
                following[before + k] += probability * exactly
        right = following
    total = sum(photos for photos, _ in case.labels)
    least = _least([bound for bound in bounds if bound.metric == "accuracy"], total)
    return sum(probability for k, probability in right.items() if k >= least)


def loses(photos: int, share: float, errors: int) -> float:
    """Returns the probability of that many more errors than an equally good, independent model."""
    exactly = [
        binomial_tail(k, photos, share) - binomial_tail(k + 1, photos, share)
        for k in range(photos + 1)
    ]
    return sum(
        exactly[old] * exactly[new]
        for old in range(photos + 1)
        for new in range(max(0, old - errors + 1))
    )


def main() -> None:
    """Prints the tables of docs/gate.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?")
    gate = load_config(parser.parse_args().config, []).gate

    print("| model | test photos | passes |")
    print("|---|---|---:|")
    for case in CASES:
        print(f"| {case.name} | {case.split} | {100 * passes(gate, case):.1f} % |")

    print("\nTest photos that a confident minimum needs, by the errors of the model:\n")
    print("| lower end | " + " | ".join(map(_errors, _ERRORS)) + " |")
    print("|---:|" + "---:|" * len(_ERRORS))
    for minimum in _MINIMA:
        needed = [f"{photos_needed(minimum, errors):,}" for errors in _ERRORS]
        print(f"| {minimum:g} | " + " | ".join(needed) + " |")

    print("\nHow often a guess among two labels meets a minimum of the accuracy:\n")
    print("| accuracy | " + " | ".join(f"{photos} photos" for photos in _PHOTOS) + " |")
    print("|---:|" + "---:|" * len(_PHOTOS))
    for minimum in (0.6, 0.75, 0.9):
        chances = [binomial_tail(fewest_right(minimum, n), n, 0.5) for n in _PHOTOS]
        print(f"| {minimum:g} | " + " | ".join(f"{100 * p:.1f} %" for p in chances) + " |")

    print("\nWhat an accuracy stands for:\n")
    print("| accuracy | photos | 95 % interval |")
    print("|---:|---:|---|")
    for right, photos in ((36, 40), (38, 40), (40, 40), (26, 30), (360, 400), (3600, 4000)):
        low, high = wilson(right, photos)
        print(f"| {right / photos:.3f} | {photos:,} | {low:.3f} to {high:.3f} |")

    print("\nHow often a model has two errors more than an equally good, independent one:\n")
    for share, photos in ((0.99, 40), (0.87, 30)):
        print(f"right on {100 * share:g} %, {photos} photos: {100 * loses(photos, share, 2):.1f} %")


def _least(bounds: list[Bound], photos: int) -> int:
    """Returns the fewest correct photos that meet all bounds; the total + 1 if none do."""
    fewest = [fewest_right(bound.min, photos, bound.confident) for bound in bounds]
    return photos + 1 if None in fewest else max(fewest, default=0)


def _errors(count: int) -> str:
    return f"{count or 'no'} error{'s' * (count != 1)}"


if __name__ == "__main__":
    main()
