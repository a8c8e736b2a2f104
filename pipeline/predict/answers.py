"""What a model says of a photo."""

from __future__ import annotations

import dataclasses


class ModelError(Exception):
    """The model cannot be asked at all; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of one photo."""

    label: str
    probability: float
    """Of that label, 0 to 1."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a photo has no prediction."""

    reason: str


def prediction(outputs: object) -> Prediction | Failure:
    """What a signature's outputs say of one instance."""
    try:
        return Prediction(str(outputs["label"]), float(max(outputs["probabilities"])))
    except (LookupError, TypeError, ValueError):
        return Failure(f"the model's answer has no label and probabilities: {str(outputs)[:80]}")
