"""A loaded model with a queue for each of its signatures."""

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
from pipeline.serve.loaded_model import Answer, LoadedModel, Row, Signature
from pipeline.serve.options import ServeOptions
from pipeline.serve.payload import PHOTOS

_SIDE = 64
"""Pixels of a side of the image that warms a model up; of any size it is resized to the model's."""


class ServedModel:
    """One version, ready to be asked by many at once.

    Args:
        model: the version.
        executor: where the model works.
        options: sizes of batches and queues.
    """

    def __init__(self, model: LoadedModel, executor: Executor, options: ServeOptions):
        self.version = model.version
        self.path = model.path
        self.signatures = model.signatures
        self.signature_defs = model.signature_defs
        self._batchers = {
            name: Batcher(
                partial(model.answer, signature),
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
        """Loads a SavedModel and asks it once, since TensorFlow's first answers take long."""
        model = LoadedModel(path, version)
        for signature in model.signatures.values():
            for count in (1, options.max_batch):
                model.answer(signature, [_sample(signature)] * count)
        return cls(model, executor, options)

    async def ask(self, signature: Signature, rows: Sequence[Row]) -> list[Answer | RowError]:
        """The answers to the rows, in their order; see `LoadedModel.answer` and `Batcher`."""
        return await self._batchers[signature.name].submit(rows)


def _sample(signature: Signature) -> Row:
    if signature.dtype is not None:
        return np.zeros([size or _SIDE for size in signature.shape], signature.dtype)
    photo = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE)).save(photo, "JPEG")
    if signature.name == PHOTOS:
        return photo.getvalue()
    return records.serialize({records.IMAGE: photo.getvalue()})
