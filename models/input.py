"""Examples from disk, or features from memory, to batches on the device: one tf.data pipeline."""

from __future__ import annotations

import dataclasses
import gc
import math
import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from models import features, preprocessing

_GZIP_MAGIC = b"\x1f\x8b"
_SHUFFLE_BUFFER = 2048
_FILES_EACH = 4
_SPREAD = 1.1


@dataclasses.dataclass(frozen=True)
class Shard:
    """The part of the examples that one of `workers` processes reads."""

    worker: int = 0
    workers: int = 1


class Examples(Protocol):
    """What a training reads: transformed examples (`Source`) or their features (`Features`)."""

    count: int
    """Number of examples over all workers."""

    def training(self, shard: Shard, deterministic: bool) -> tf.data.Dataset:
        """One worker's examples in one pass, unparsed."""

    def evaluation(self, shard: Shard) -> tf.data.Dataset:
        """Every `workers`-th example, unparsed, in the same order on every worker."""

    def filling(self) -> tf.data.Dataset:
        """One example that fills up a batch."""

    def parse(self, batch, training: bool):
        """A batch of examples as inputs [batch, ...] and one-hot float32 [batch, classes]."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Files of transformed examples and what is needed to read them.

    A batch is uint8 [batch, size, size, 3] and one-hot labels float32 [batch, classes].
    """

    files: tuple[str, ...]
    count: int
    """Number of examples in all files together."""
    image_size: int
    num_classes: int

    @classmethod
    def of(cls, patterns: Sequence[str], image_size: int, num_classes: int, count=None) -> Source:
        """Finds the files; counts their examples by reading them where `count` is None.

        Raises:
            ValueError: no file matches the patterns, or the files hold no example.
        """
        files = tuple(sorted(name for pattern in patterns for name in tf.io.gfile.glob(pattern)))
        if not files:
            raise ValueError(f"No files of examples match {list(patterns)}.")
        if count is None:
            count = int(_read(files).reduce(0, lambda total, _: total + 1).numpy())
        if not count:
            raise ValueError(f"The files that match {list(patterns)} hold no example.")
        return cls(files, count, image_size, num_classes)

    def training(self, shard: Shard, deterministic: bool) -> tf.data.Dataset:
        """Whole files where each worker gets several of alike size, else every n-th example."""
        by_file = _share_alike(self.files, shard.workers)
        files = self.files[shard.worker :: shard.workers] if by_file else self.files
        # Where single examples are dealt out, all workers have to count them in the same order.
        dealt = shard.workers > 1 and not by_file
        records = _read(files, deterministic=dealt or deterministic)
        return records.shard(shard.workers, shard.worker) if dealt else records

    def evaluation(self, shard: Shard) -> tf.data.Dataset:
        """Every `workers`-th example."""
        return _read(self.files).shard(shard.workers, shard.worker)

    def filling(self) -> tf.data.Dataset:
        """The first example."""
        return _read(self.files).take(1)

    def parse(self, batch, training: bool = False):
        """Serialised examples, string [batch], as images and one-hot labels."""
        packed, labels = self.parse_packed(batch)
        images = preprocessing.unpack(packed, self.image_size)
        return images, tf.one_hot(labels, self.num_classes)

    def parse_packed(self, batch):
        """Serialised examples as the images' bytes, string [batch], and labels int64 [batch]."""
        spec = {
            features.IMAGE: tf.io.FixedLenFeature([], tf.string),
            features.LABEL: tf.io.FixedLenFeature([], tf.int64),
        }
        parsed = tf.io.parse_example(batch, spec)
        return parsed[features.IMAGE], parsed[features.LABEL]


@dataclasses.dataclass(frozen=True)
class Features:
    """One worker's examples as the features of a frozen network, in memory.

    A batch is float32 [batch, features] and one-hot labels float32 [batch, classes]. In training
    the view of a photo is drawn at random; elsewhere it is the first, the photo itself.
    """

    values: np.ndarray
    """Float16 [n, views, features]."""
    labels: np.ndarray
    """Int64 [n]."""
    count: int
    """Number of examples over all workers."""
    num_classes: int

    def training(self, shard: Shard, deterministic: bool) -> tf.data.Dataset:
        """All that this worker holds."""
        return self._dataset()

    def evaluation(self, shard: Shard) -> tf.data.Dataset:
        """All that this worker holds."""
        return self._dataset()

    def filling(self) -> tf.data.Dataset:
        """Zeros."""
        shape, dtype = self.values.shape[1:], self.values.dtype
        nothing = np.zeros([1, *shape], dtype), np.zeros([1], np.int64)
        return tf.data.Dataset.from_tensor_slices(nothing)

    def parse(self, batch, training: bool = False):
        """Float16 [batch, views, features] and labels int64 [batch] as features and one-hot."""
        values, labels = batch
        size, views = tf.shape(values)[0], self.values.shape[1]
        view = tf.zeros([size], tf.int32)
        if training and views > 1:
            view = tf.random.uniform([size], maxval=views, dtype=tf.int32)
        chosen = tf.gather(values, view, batch_dims=1)
        return tf.cast(chosen, tf.float32), tf.one_hot(labels, self.num_classes)

    def _dataset(self) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices((self.values, self.labels))


def training(source: Examples, batch_size: int, shard: Shard, *, seed=None, cache="memory"):
    """Endless shuffled batches for training.

    Args:
        source: the examples.
        batch_size: examples a batch.
        shard: the part to read. It must not be empty.
        seed: order of the examples; None draws a new one.
        cache: `memory`, `none`, or a path to keep examples in between epochs.

    Returns:
        Dataset of batches as `source.parse` gives them.
    """
    records = _cached(source.training(shard, seed is not None), cache)
    records = records.shuffle(min(source.count, _SHUFFLE_BUFFER), seed=seed).repeat()
    batches = records.batch(batch_size, drop_remainder=True)
    batches = batches.map(
        lambda *batch: source.parse(*_one(batch), training=True),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return batches.with_options(_options(seed is not None)).prefetch(tf.data.AUTOTUNE)


def evaluation(source: Examples, batch_size: int, steps: int, shard: Shard, *, cache="memory"):
    """Each example once, in equally many batches on every worker.

    The last batches are filled up with examples of weight zero, and the weights of the real ones
    raised so that they average one over all: means over the workers come out exact.

    Args:
        source: the examples.
        batch_size: examples a batch, on one replica.
        steps: batches that one worker reads in a pass over all examples.
        shard: the part to read, every `workers`-th example.
        cache: as for `training`.

    Returns:
        Dataset of batches as `source.parse` gives them, with float32 [batch_size] weights,
        repeated without end.
    """
    weight = max(1.0, steps * batch_size * shard.workers / source.count)
    real = source.evaluation(shard).map(lambda *record: (_one(record)[0], weight))
    fill = source.filling().repeat().map(lambda *record: (_one(record)[0], 0.0))
    padded = _cached(real.concatenate(fill).take(steps * batch_size), cache).repeat()
    batches = padded.batch(batch_size, drop_remainder=True).map(
        lambda batch, weights: (*source.parse(batch), weights),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return batches.with_options(_options(deterministic=True)).prefetch(tf.data.AUTOTUNE)


def once(source: Source, batch_size: int, shard: Shard):
    """One pass over a worker's examples, in order: dataset of serialised examples [batch_size]."""
    # Without tuning: to end an iterator TensorFlow waits for its thread, see `PersistentIterator`.
    batches = source.evaluation(shard).batch(batch_size)
    return batches.with_options(_options(deterministic=True)).prefetch(1)


class PersistentIterator(tf.distribute.DistributedDataset):
    """A dataset without end, each pass over which goes on where the one before it ended.

    Keras makes an iterator for every validation. To end one, TensorFlow waits for the threads that
    tune it, which sleep for as long as the iterator is old, a minute at most, and often miss that
    they are to wake (2.16: after every third epoch on two cores). See `close`, too.

    Args:
        dataset: repeated without end; a pass takes as many batches of it as make one.
    """

    def __init__(self, dataset: tf.distribute.DistributedDataset):
        self._dataset, self._iterator = dataset, iter(dataset)

    def __iter__(self):
        return self._iterator

    @property
    def element_spec(self):
        """Of the dataset."""
        return self._dataset.element_spec


def close(datasets: list[PersistentIterator]) -> None:
    """Empties the list, and ends the iterators while the caller goes on."""

    def end() -> None:
        datasets.clear()
        gc.collect()  # Keras refers to them in circles.

    threading.Thread(target=end, name="iterators").start()


def class_counts(source: Source) -> list[int]:
    """Number of examples of each class, by reading all of them."""
    spec = {features.LABEL: tf.io.FixedLenFeature([], tf.int64)}
    counts = tf.zeros([source.num_classes], tf.int64)
    for batch in _read(source.files).batch(1024).with_options(_options(deterministic=True)):
        labels = tf.io.parse_example(batch, spec)[features.LABEL]
        counts += tf.reduce_sum(tf.one_hot(labels, source.num_classes, dtype=tf.int64), axis=0)
    return counts.numpy().tolist()


def steps_of_one_pass(source: Source, global_batch: int) -> int:
    """Steps of `global_batch` examples in which all are met."""
    return math.ceil(source.count / global_batch)


def _share_alike(files: Sequence[str], workers: int) -> bool:
    """Whether dealing out whole files gives each worker several, and no one much more."""
    if len(files) < _FILES_EACH * workers:
        return False
    sizes = [tf.io.gfile.stat(file).length for file in files]
    shares = [sum(sizes[worker::workers]) for worker in range(workers)]
    return max(shares) <= _SPREAD * min(shares)


def _read(files: Sequence[str], deterministic: bool = True) -> tf.data.Dataset:
    with tf.io.gfile.GFile(files[0], "rb") as file:
        compression = "GZIP" if file.read(2) == _GZIP_MAGIC else None
    return tf.data.Dataset.from_tensor_slices(list(files)).interleave(
        lambda file: tf.data.TFRecordDataset(file, compression, buffer_size=1 << 20),
        cycle_length=min(len(files), 16),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=deterministic,
    )


def _cached(records: tf.data.Dataset, cache: str) -> tf.data.Dataset:
    if cache == "none":
        return records
    return records.cache() if cache == "memory" else records.cache(cache)


def _one(elements: tuple) -> tuple:
    """The element of a dataset that `map` handed over, in a tuple of its own."""
    return elements if len(elements) == 1 else (elements,)


def _options(deterministic: bool) -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = deterministic
    # Its thread is why: see `PersistentIterator`. As many calls as cores are as fast
    # (benchmarks/input.py).
    options.autotune.enabled = False
    # The shards are cut here, by worker; a second cut would lose examples.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
