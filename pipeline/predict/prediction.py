"""The prediction for one photo."""

from __future__ import annotations

import dataclasses
from typing import Any


class ModelError(Exception):
    """The model is not available. The message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The predicted label of a photo."""

    label: str
    probability: float
    """Probability of the label, 0 to 1."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a photo has no prediction."""

    reason: str


def parse_outputs(outputs: Any) -> Prediction | Failure:
    """Parses the outputs of a signature for one instance: `label` and `probabilities`."""
    try:
        return Prediction(str(outputs["label"]), float(max(outputs["probabilities"])))
    except (LookupError, TypeError, ValueError):
        return Failure(f"the model's outputs have no label and probabilities: {str(outputs)[:80]}")
