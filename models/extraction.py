"""The features of photos: those that are kept already, and the others computed by the backbone."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from models import feature_store, preprocessing
from models.feature_store import FeatureStore
from models.input import Features, Shard, Source, once
from models.options import TrainerOptions

_log = logging.getLogger("pawprint")
_progress = logging.getLogger("pawprint.progress")
_READ = 256
_BATCH = 32
_SECONDS_BETWEEN_FILES = 30.0
_ALL = Shard()
PHOTO, MIRRORED = "photo", "mirrored"
"""The views of a photo: as it is, and its mirror image."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """Where features are kept between trainings."""

    folder: str | None = None
    """None keeps nothing."""
    limit: int = 1 << 30
    """Bytes that the folder may take."""


def views(options: TrainerOptions) -> tuple[str, ...]:
    """The views of each image that a head learns from."""
    return (PHOTO, MIRRORED) if options.mirrored_features else (PHOTO,)


class Extractor:
    """Computes features by the backbone, on all devices of this process.

    A batch has always the same size, so that a photo's features do not depend on which worker
    computes them.

    Args:
        backbone: float32 [batch, size, size, 3] in 0..255 to features float32 [batch, n].
        strategy: the strategy under which it was built.
        workers: processes of that strategy.
        kept: where features are kept.

    Attributes:
        computed: photos that the backbone has worked on, those of its first call left out.
        seconds: time that it took.
    """

    def __init__(
        self,
        backbone: tf_keras.Model,
        strategy: tf.distribute.Strategy,
        workers: int = 1,
        kept: Kept | None = None,
    ):
        self.computed, self.seconds = 0, 0.0
        self._traced = False
        self._known: dict[str, tuple[FeatureStore, dict[bytes, np.ndarray]]] = {}
        self._kept, self._strategy = kept or Kept(), strategy
        self._width = backbone.output_shape[-1]
        self._network = fingerprint(backbone)
        devices = strategy.num_replicas_in_sync // workers
        self._batch = _BATCH * devices
        size = backbone.input_shape[1]

        def run(images):
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group % devices * _BATCH
            return backbone(images[first : first + _BATCH], training=False)

        @tf.function
        def step(packed, mirrored):
            images = tf.cast(preprocessing.unpack(packed, size), tf.float32)
            images = tf.cond(mirrored, lambda: tf.reverse(images, [2]), lambda: images)
            # In a replica's context: elsewhere reading batch statistics waits for all workers.
            return strategy.run(run, args=(images,))

        self._step = step

    def features(
        self,
        source: Source,
        shard: Shard = _ALL,
        views: Sequence[str] = (PHOTO,),
        name: str = "all",
    ) -> Features:
        """The features of one worker's part of the examples.

        Args:
            source: the examples.
            shard: the part of them.
            views: `photo`, `mirrored`.
            name: of the examples, for the progress.
        """
        columns = [_View(self, view) for view in views]
        labels, done = [np.zeros([0], np.int64)], 0
        total = math.ceil(source.count / shard.workers)
        for packed, its_labels in map(source.parse_packed, once(source, _READ, shard)):
            images = packed.numpy().tolist()
            keys = feature_store.digests(images)
            for column in columns:
                column.add(keys, images)
            labels.append(its_labels.numpy())
            done += len(images)
            _report(name, done, total)
        values = np.stack([column.end(self._width) for column in columns], axis=1)
        computed = sum(column.computed for column in columns)
        if (kept := len(columns) * done - computed) and computed:
            _log.info("features of %s photos: %d were kept, %d are new", name, kept, computed)
        _report(name, total, total, finished=True)
        return Features(values, np.concatenate(labels), source.count, source.num_classes)

    def seconds_a_photo(self, source: Source) -> float:
        """Seconds that the backbone takes for a photo; measured where nothing was computed."""
        if not self.computed:
            records = next(iter(once(source, self._batch, _ALL)))
            images = source.parse_packed(records)[0].numpy().tolist()
            for _ in range(2):  # The first call traces.
                self.compute(images, PHOTO)
        return self.seconds / self.computed

    def compute(self, images: Sequence[bytes], view: str) -> np.ndarray:
        """Features, float16 [n, features], of images as `preprocessing.pack` has them."""
        rows = [np.zeros([0, self._width], feature_store.DTYPE)]
        for start in range(0, len(images), self._batch):
            part = list(images[start : start + self._batch])
            began = time.perf_counter()
            filled = tf.constant(part + part[:1] * (self._batch - len(part)))
            outputs = self._step(filled, tf.constant(view == MIRRORED))
            found = [each.numpy() for each in self._strategy.experimental_local_results(outputs)]
            rows.append(np.concatenate(found)[: len(part)].astype(feature_store.DTYPE))
            # The first call traces the network, which says nothing of the next ones.
            if self._traced:
                self.seconds += time.perf_counter() - began
                self.computed += self._batch
            self._traced = True
        return np.concatenate(rows)

    def kept(self, view: str) -> tuple[FeatureStore, dict[bytes, np.ndarray]]:
        """Where features of a view are kept, and all that are known, by digest of the image."""
        if view not in self._known:
            store = FeatureStore(self._kept.folder, f"{self._network} {view}", self._kept.limit)
            self._known[view] = store, store.load()
        return self._known[view]


class _View:
    """The features of one view, in the order of the photos."""

    def __init__(self, extractor: Extractor, view: str):
        self._extractor, self._view = extractor, view
        self._store, self._known = extractor.kept(view)
        self._rows: list[np.ndarray] = []
        self._fresh: dict[bytes, np.ndarray] = {}
        self._saved = time.monotonic()
        self.computed = 0

    def add(self, keys: Sequence[bytes], images: Sequence[bytes]) -> None:
        """Adds photos, computing those that are not known."""
        missing = {
            key: image for key, image in zip(keys, images, strict=True) if key not in self._known
        }
        rows = self._extractor.compute(list(missing.values()), self._view)
        self.computed += len(missing)
        fresh = dict(zip(missing, rows, strict=True))
        self._known.update(fresh)
        self._fresh |= fresh
        self._rows += [self._known[key] for key in keys]
        # A killed training has lost no more than this.
        if time.monotonic() - self._saved > _SECONDS_BETWEEN_FILES:
            self._save()

    def end(self, width: int) -> np.ndarray:
        """All features, float16 [n, width]."""
        self._save()
        return np.stack(self._rows) if self._rows else np.zeros([0, width], feature_store.DTYPE)

    def _save(self) -> None:
        self._store.add(self._fresh)
        self._fresh, self._saved = {}, time.monotonic()


def fingerprint(network: tf_keras.Model) -> str:
    """A digest of a network's layers and weights."""
    digest = hashlib.sha256(network.to_json().encode())
    for value in network.get_weights():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _report(name: str, done: int, total: int, finished: bool = False) -> None:
    _progress.info(
        f"features of {name} photos",
        extra={"progress": {"done": done, "total": total, "unit": "img", "finished": finished}},
    )
