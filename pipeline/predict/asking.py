"""From photos to predictions, whoever gives them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from data import records
from data.photos import AS_TRAINED, BadPhotoError, photo_features


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


def predict(model: str, photos: Sequence[Path]) -> list[Prediction | Failure]:
    """Asks a model about photos.

    Args:
      model: URL of a server or a model, a folder of versions, or a SavedModel.
      photos: files; one that cannot be read fails alone.

    Returns:
      A prediction, or why there is none, for each photo.

    Raises:
      ModelError: there is no such model, or it cannot be reached.
    """
    if model.startswith(("http://", "https://")):
        from pipeline.predict.remote import RemoteModel as Model
    else:
        from pipeline.predict.local import LocalModel as Model
    asked = Model(model)
    read = [_record(photo) for photo in photos]
    answers = iter(asked.predict([record for record in read if isinstance(record, bytes)]))
    return [next(answers) if isinstance(record, bytes) else record for record in read]


def prediction(outputs: object) -> Prediction | Failure:
    """What a signature's outputs say of one instance."""
    try:
        return Prediction(str(outputs["label"]), float(max(outputs["probabilities"])))
    except (LookupError, TypeError, ValueError):
        return Failure(f"the model's answer has no label and probabilities: {str(outputs)[:80]}")


def _record(photo: Path) -> bytes | Failure:
    """The photo as a record, which serving_default takes on every server."""
    try:
        return records.serialize(photo_features(photo.read_bytes(), AS_TRAINED))
    except OSError as error:
        return Failure(error.strerror or str(error))
    except BadPhotoError as error:
        return Failure(str(error))
