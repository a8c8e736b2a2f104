"""Transformed examples from disk to batches on the device: one tf.data pipeline."""

from __future__ import annotations

import dataclasses
import gc
import math
import threading
from collections.abc import Sequence

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


@dataclasses.dataclass(frozen=True)
class Source:
    """Files of transformed examples and what is needed to read them."""

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


def training(source: Source, batch_size: int, shard: Shard, *, seed=None, cache="memory"):
    """Endless shuffled batches for training.

    Args:
        source: the examples.
        batch_size: examples a batch.
        shard: the part to read: whole files where each worker gets several and as many bytes as
            the others, else every so manieth example. It must not be empty.
        seed: order of the examples; None draws a new one.
        cache: `memory`, `none`, or a path to keep examples in between epochs.

    Returns:
        Dataset of (uint8 [batch_size, size, size, 3], one-hot float32 [batch_size, classes]).
    """
    by_file = _share_alike(source.files, shard.workers)
    files = source.files[shard.worker :: shard.workers] if by_file else source.files
    # Where single examples are dealt out, all workers have to count them in the same order.
    dealt = shard.workers > 1 and not by_file
    records = _read(files, deterministic=dealt or seed is not None)
    if dealt:
        records = records.shard(shard.workers, shard.worker)
    records = _cached(records, cache)
    records = records.shuffle(min(source.count, _SHUFFLE_BUFFER), seed=seed).repeat()
    batches = records.batch(batch_size, drop_remainder=True)
    batches = batches.map(lambda batch: _parse(batch, source), num_parallel_calls=tf.data.AUTOTUNE)
    return batches.with_options(_options(seed is not None)).prefetch(tf.data.AUTOTUNE)


def evaluation(source: Source, batch_size: int, steps: int, shard: Shard, *, cache="memory"):
    """Each example once, in equally many batches on every worker.

    The last batches are filled up with examples of weight zero, and the weights of the real ones
    raised so that they average one over all: means over the workers come out exact.

    Args:
        source: the examples.
        batch_size: examples a batch, on one replica.
        steps: batches that one worker reads in a pass over all examples.
        shard: the part to read, every so manieth example.
        cache: as for `training`.

    Returns:
        Dataset of (uint8 [batch_size, size, size, 3], one-hot float32 [batch_size, classes],
        float32 [batch_size] weights), repeated without end.
    """
    records = _read(source.files).shard(shard.workers, shard.worker)
    weight = max(1.0, steps * batch_size * shard.workers / source.count)
    real = records.map(lambda record: (record, weight))
    fill = _read(source.files).take(1).repeat().map(lambda record: (record, 0.0))
    padded = _cached(real.concatenate(fill).take(steps * batch_size), cache).repeat()
    batches = padded.batch(batch_size, drop_remainder=True).map(
        lambda batch, weights: (*_parse(batch, source), weights),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return batches.with_options(_options(deterministic=True)).prefetch(tf.data.AUTOTUNE)


class Continued(tf.distribute.DistributedDataset):
    """A dataset without end, each pass over which goes on where the one before it ended.

    Keras makes an iterator for every validation. To end one, TensorFlow waits for the threads that
    tune it, which sleep for as long as the iterator is old, a minute at most, and often miss that
    they are to wake (2.16: after every third epoch on two cores). See `let_go`, too.

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


def let_go(datasets: list[Continued]) -> None:
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


def _parse(batch, source: Source):
    spec = {
        features.IMAGE: tf.io.FixedLenFeature([], tf.string),
        features.LABEL: tf.io.FixedLenFeature([], tf.int64),
    }
    parsed = tf.io.parse_example(batch, spec)
    images = preprocessing.unpack(parsed[features.IMAGE], source.image_size)
    labels = tf.one_hot(parsed[features.LABEL], source.num_classes)
    return images, labels


def _options(deterministic: bool) -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = deterministic
    # For its thread, see `Continued`; as many calls as cores are as fast (benchmarks/input.py).
    options.autotune.enabled = False
    # The shards are cut here, by worker; a second cut would lose examples.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
