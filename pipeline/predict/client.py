"""Predictions of photos, by a model on this machine or on a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data.record import records
from data.record.photos import AS_TRAINED, BadPhotoError, photo_features
from pipeline.predict.answers import Failure, Prediction


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


def _record(photo: Path) -> bytes | Failure:
    """The photo as a record, which serving_default takes on every server."""
    try:
        return records.serialize(photo_features(photo.read_bytes(), AS_TRAINED))
    except OSError as error:
        return Failure(error.strerror or str(error))
    except BadPhotoError as error:
        return Failure(str(error))
