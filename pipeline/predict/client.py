"""Predicts photos with a local model or a model server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from data.record import records
from data.record.photos import AS_TRAINED, BadPhotoError, photo_features
from pipeline.predict.prediction import Failure, Prediction


class Model(Protocol):
    """A model that predicts serialized records."""

    def predict(self, records: Sequence[bytes]) -> list[Prediction | Failure]: ...


def predict(model: str, photos: Sequence[Path]) -> list[Prediction | Failure]:
    """Predicts photos.

    Args:
        model: URL of a server or a model, a folder of versions, or a SavedModel.
        photos: Image files. A file that cannot be read fails alone.

    Returns:
        The prediction of each photo, or the reason why it has none.

    Raises:
        ModelError: The model does not exist or the server is unreachable.

    Example:
        >>> predict("runs/serving", [Path("cat.jpg")])
        [Prediction(label='cat', probability=0.98)]
    """
    loaded = _load(model)
    converted = [_record(photo) for photo in photos]
    results = iter(loaded.predict([record for record in converted if isinstance(record, bytes)]))
    return [next(results) if isinstance(record, bytes) else record for record in converted]


def _load(model: str) -> Model:
    if model.startswith(("http://", "https://")):
        from pipeline.predict.remote import RemoteModel

        return RemoteModel(model)
    from pipeline.predict.local import LocalModel

    return LocalModel(model)


def _record(photo: Path) -> bytes | Failure:
    """Converts a photo to a record, the input of serving_default on every server."""
    try:
        return records.serialize(photo_features(photo.read_bytes(), AS_TRAINED))
    except OSError as error:
        return Failure(error.strerror or str(error))
    except BadPhotoError as error:
        return Failure(str(error))
