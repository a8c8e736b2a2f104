"""Extracts the features of images with a frozen backbone, through the feature cache."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from models import feature_store, preprocessing
from models.feature_store import FeatureStore
from models.input import ExampleFiles, Features, Shard, one_pass
from models.options import TrainerOptions

_log = logging.getLogger("pawprint")
_progress = logging.getLogger("pawprint.progress")
_READ = 256
_BATCH = 32
_SECONDS_BETWEEN_FILES = 30.0
_ALL = Shard()
PHOTO, MIRRORED = "photo", "mirrored"
"""The views of an image: as it is, and mirrored."""


def views(options: TrainerOptions) -> tuple[str, ...]:
    """Returns the views of each image that a head is trained on."""
    return (PHOTO, MIRRORED) if options.mirrored_features else (PHOTO,)


class FeatureExtractor:
    """Computes features with a backbone, on all devices of this process.

    All batches have the same size, so that the features of an image do not depend on the worker
    that computes them.

    Args:
        backbone: maps float32 [batch, size, size, 3] in 0..255 to features float32 [batch, n].
        strategy: the strategy under which `backbone` was built.
        workers: number of processes of the strategy.
        folder: folder of the feature cache; None disables the cache.
        limit: size limit of the folder in bytes.

    Attributes:
        computed: number of images computed so far, without those of the first call.
        seconds: time that computing them took.
    """

    def __init__(
        self,
        backbone: tf_keras.Model,
        strategy: tf.distribute.Strategy,
        workers: int = 1,
        folder: str | None = None,
        limit: int = 1 << 30,
    ):
        self.computed, self.seconds = 0, 0.0
        self._traced = False
        self._stores: dict[str, tuple[FeatureStore, dict[bytes, NDArray[np.float16]]]] = {}
        self._folder, self._limit, self._strategy = folder, limit, strategy
        self._width = backbone.output_shape[-1]
        self._network = fingerprint(backbone)
        devices = strategy.num_replicas_in_sync // workers
        self._batch = _BATCH * devices
        size = backbone.input_shape[1]

        def run(images: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group % devices * _BATCH
            return backbone(images[first : first + _BATCH], training=False)

        def step(packed: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
            images = tf.cast(preprocessing.unpack(packed, size), tf.float32)
            images = tf.cond(mirrored, lambda: tf.reverse(images, [2]), lambda: images)
            # In a replica's context: elsewhere reading batch statistics waits for all workers.
            return strategy.run(run, args=(images,))

        self._step = tf.function(step)

    def features(
        self,
        source: ExampleFiles,
        shard: Shard = _ALL,
        views: Sequence[str] = (PHOTO,),
        name: str = "all",
    ) -> Features:
        """Returns the features of one worker's part of the examples, cached or computed.

        Args:
            source: the examples.
            shard: this worker's part.
            views: `photo`, `mirrored`.
            name: name of the split, for the progress.

        Returns:
            Features of float16 [n, views, features], in the order of the examples.
        """
        columns = [_View(self, view) for view in views]
        labels, done = [np.zeros([0], np.int64)], 0
        total = math.ceil(source.count / shard.workers)
        for packed, batch_labels in map(source.parse_packed, one_pass(source, _READ, shard)):
            images = packed.numpy().tolist()
            keys = feature_store.digests(images)
            for column in columns:
                column.add(keys, images)
            labels.append(batch_labels.numpy())
            done += len(images)
            _report(name, done, total)
        values = np.stack([column.finish(self._width) for column in columns], axis=1)
        computed = sum(column.computed for column in columns)
        if (cached := len(columns) * done - computed) and computed:
            _log.info("features of %s photos: %d cached, %d computed", name, cached, computed)
        _report(name, total, total, finished=True)
        return Features(values, np.concatenate(labels), source.count, source.num_classes)

    def seconds_per_image(self, source: ExampleFiles) -> float:
        """Returns the seconds that the backbone takes per image; measures if none was computed."""
        if not self.computed:
            records = next(iter(one_pass(source, self._batch, _ALL)))
            images = source.parse_packed(records)[0].numpy().tolist()
            for _ in range(2):  # The first call traces.
                self.compute(images, PHOTO)
        return self.seconds / self.computed

    def compute(self, images: Sequence[bytes], view: str) -> NDArray[np.float16]:
        """Computes features, float16 [n, features], of images packed by `preprocessing.pack`."""
        rows = [np.zeros([0, self._width], feature_store.DTYPE)]
        for start in range(0, len(images), self._batch):
            part = list(images[start : start + self._batch])
            began = time.perf_counter()
            filled = tf.constant(part + part[:1] * (self._batch - len(part)))
            outputs = self._step(filled, tf.constant(view == MIRRORED))
            found = [each.numpy() for each in self._strategy.experimental_local_results(outputs)]
            rows.append(np.concatenate(found)[: len(part)].astype(feature_store.DTYPE))
            # The first call also traces the network.
            if self._traced:
                self.seconds += time.perf_counter() - began
                self.computed += self._batch
            self._traced = True
        return np.concatenate(rows)

    def store(self, view: str) -> tuple[FeatureStore, dict[bytes, NDArray[np.float16]]]:
        """Returns the cache of a view, and its features by digest of the image."""
        if view not in self._stores:
            store = FeatureStore(self._folder, f"{self._network} {view}", self._limit)
            self._stores[view] = store, store.load()
        return self._stores[view]


class _View:
    """The features of one view, in the order of the examples."""

    def __init__(self, extractor: FeatureExtractor, view: str):
        self._extractor, self._view = extractor, view
        self._store, self._known = extractor.store(view)
        self._rows: list[NDArray[np.float16]] = []
        self._unsaved: dict[bytes, NDArray[np.float16]] = {}
        self._saved = time.monotonic()
        self.computed = 0

    def add(self, keys: Sequence[bytes], images: Sequence[bytes]) -> None:
        """Adds images; computes the features that are not in the cache."""
        missing = {
            key: image for key, image in zip(keys, images, strict=True) if key not in self._known
        }
        rows = self._extractor.compute(list(missing.values()), self._view)
        self.computed += len(missing)
        computed = dict(zip(missing, rows, strict=True))
        self._known.update(computed)
        self._unsaved |= computed
        self._rows += [self._known[key] for key in keys]
        # Limits what a killed training has to compute again.
        if time.monotonic() - self._saved > _SECONDS_BETWEEN_FILES:
            self._save()

    def finish(self, width: int) -> NDArray[np.float16]:
        """Saves the computed features and returns all of them, float16 [n, width]."""
        self._save()
        return np.stack(self._rows) if self._rows else np.zeros([0, width], feature_store.DTYPE)

    def _save(self) -> None:
        self._store.add(self._unsaved)
        self._unsaved, self._saved = {}, time.monotonic()


def fingerprint(network: tf_keras.Model) -> str:
    """Returns a digest of a network's layers and weights, 64 hexadecimal digits."""
    digest = hashlib.sha256(network.to_json().encode())
    for value in network.get_weights():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _report(name: str, done: int, total: int, finished: bool = False) -> None:
    _progress.info(
        f"features of {name} photos",
        extra={"progress": {"done": done, "total": total, "unit": "img", "finished": finished}},
    )
