"""A loaded model with a batching queue per signature."""

import io
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from data.record import records
from pipeline.serve.batching import Batcher
from pipeline.serve.errors import RowError
from pipeline.serve.loaded_model import LoadedModel, Row, RowOutputs, Signature
from pipeline.serve.options import ServeOptions
from pipeline.serve.payload import PHOTOS

_SIDE = 64
"""Height and width of the warm-up image where the model takes any size."""


class ServedModel:
    """One version that serves concurrent requests.

    Args:
        model: The loaded version.
        executor: Thread pool that runs the model.
        options: Sizes of batches and queues.
    """

    def __init__(self, model: LoadedModel, executor: Executor, options: ServeOptions):
        self.version = model.version
        self.path = model.path
        self.signatures = model.signatures
        self.signature_defs = model.signature_defs
        self._batchers = {
            name: Batcher(
                partial(model.predict, signature),
                executor,
                parallel=options.threads,
                max_batch=options.max_batch,
                max_waiting=options.max_waiting,
            )
            for name, signature in model.signatures.items()
        }

    @classmethod
    def load(
        cls, executor: Executor, options: ServeOptions, path: Path, version: int
    ) -> "ServedModel":
        """Loads a SavedModel and warms it up: TensorFlow's first calls of a signature are slow."""
        model = LoadedModel(path, version)
        for signature in model.signatures.values():
            for count in (1, options.max_batch):
                model.predict(signature, [_sample(signature)] * count)
        return cls(model, executor, options)

    async def predict(
        self, signature: Signature, rows: Sequence[Row]
    ) -> list[RowOutputs | RowError]:
        """Returns the result of each row, in order; see `LoadedModel.predict` and `Batcher`."""
        return await self._batchers[signature.name].submit(rows)


def _sample(signature: Signature) -> Row:
    if signature.dtype is not None:
        return np.zeros([size or _SIDE for size in signature.shape], signature.dtype)
    photo = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE)).save(photo, "JPEG")
    if signature.name == PHOTOS:
        return photo.getvalue()
    return records.serialize({records.IMAGE: photo.getvalue()})
