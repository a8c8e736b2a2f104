"""The input pipeline: batches of examples from files, or of features from memory."""

from __future__ import annotations

import dataclasses
import gc
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models import features, preprocessing

_GZIP_MAGIC = b"\x1f\x8b"
_SHUFFLE_BUFFER = 2048
_MIN_FILES_PER_WORKER = 4
_MAX_IMBALANCE = 1.1


@dataclasses.dataclass(frozen=True)
class Shard:
    """The part of the examples that process `worker` of `workers` reads."""

    worker: int = 0
    workers: int = 1


class Examples(Protocol):
    """The examples of a training: transformed ones (`ExampleFiles`) or features (`Features`)."""

    @property
    def count(self) -> int:
        """Number of examples over all workers."""

    def training(self, shard: Shard, deterministic: bool) -> tf.data.Dataset:
        """Returns one pass over one worker's examples, unparsed."""

    def evaluation(self, shard: Shard) -> tf.data.Dataset:
        """Returns every `workers`-th example, unparsed, in the same order on every worker."""

    def padding(self) -> tf.data.Dataset:
        """Returns one example to pad batches with, unparsed."""

    def parse(self, batch: Any, *, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Parses a batch to inputs [batch, ...] and one-hot labels float32 [batch, classes]."""


@dataclasses.dataclass(frozen=True)
class ExampleFiles:
    """Files of transformed examples.

    A batch is images uint8 [batch, size, size, 3] and one-hot labels float32 [batch, classes].
    """

    files: tuple[str, ...]
    count: int
    """Number of examples in all files together."""
    image_size: int
    num_classes: int

    @classmethod
    def of(
        cls,
        patterns: Sequence[str],
        image_size: int,
        num_classes: int,
        count: int | None = None,
    ) -> ExampleFiles:
        """Finds the files that match the patterns.

        Args:
            patterns: file patterns, on any file system that TensorFlow supports.
            image_size: height and width of the images in pixels.
            num_classes: number of classes.
            count: number of examples; None counts them by reading the files.

        Raises:
            ValueError: No file matches the patterns, or the files hold no example.
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
        """Splits by file if each worker gets several files of similar size, else by example."""
        by_file = _splits_evenly(self.files, shard.workers)
        files = self.files[shard.worker :: shard.workers] if by_file else self.files
        # A split by example needs the same order on all workers.
        by_example = shard.workers > 1 and not by_file
        records = _read(files, deterministic=by_example or deterministic)
        return records.shard(shard.workers, shard.worker) if by_example else records

    def evaluation(self, shard: Shard) -> tf.data.Dataset:
        """Returns every `workers`-th example."""
        return _read(self.files).shard(shard.workers, shard.worker)

    def padding(self) -> tf.data.Dataset:
        """Returns the first example."""
        return _read(self.files).take(1)

    def parse(self, batch: tf.Tensor, *, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Parses serialised examples, string [batch], to images and one-hot labels."""
        packed, labels = self.parse_packed(batch)
        images = preprocessing.unpack(packed, self.image_size)
        return images, tf.one_hot(labels, self.num_classes)

    def parse_packed(self, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Parses serialised examples to packed images, string [batch], and labels int64 [batch]."""
        spec = {
            features.IMAGE: tf.io.FixedLenFeature([], tf.string),
            features.LABEL: tf.io.FixedLenFeature([], tf.int64),
        }
        parsed = tf.io.parse_example(batch, spec)
        return parsed[features.IMAGE], parsed[features.LABEL]


@dataclasses.dataclass(frozen=True)
class Features:
    """One worker's examples as features of a frozen network, in memory.

    A batch is features float32 [batch, features] and one-hot labels float32 [batch, classes].
    Training draws a view of each image at random; evaluation takes the first, the image itself.
    """

    values: NDArray[np.float16]
    """Float16 [n, views, features]."""
    labels: NDArray[np.int64]
    """Int64 [n]."""
    count: int
    """Number of examples over all workers."""
    num_classes: int

    def training(self, shard: Shard, deterministic: bool) -> tf.data.Dataset:
        """Returns all features: they are this worker's shard."""
        return self._dataset()

    def evaluation(self, shard: Shard) -> tf.data.Dataset:
        """Returns all features: they are this worker's shard."""
        return self._dataset()

    def padding(self) -> tf.data.Dataset:
        """Returns zeros."""
        shape, dtype = self.values.shape[1:], self.values.dtype
        zeros = np.zeros([1, *shape], dtype), np.zeros([1], np.int64)
        return tf.data.Dataset.from_tensor_slices(zeros)

    def parse(
        self, batch: tuple[tf.Tensor, tf.Tensor], *, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes one view of values float16 [batch, views, features]; encodes labels one-hot."""
        values, labels = batch
        size, views = tf.shape(values)[0], self.values.shape[1]
        view = tf.zeros([size], tf.int32)
        if training and views > 1:
            view = tf.random.uniform([size], maxval=views, dtype=tf.int32)
        chosen = tf.gather(values, view, batch_dims=1)
        return tf.cast(chosen, tf.float32), tf.one_hot(labels, self.num_classes)

    def _dataset(self) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices((self.values, self.labels))


def training(
    source: Examples,
    batch_size: int,
    shard: Shard,
    *,
    seed: int | None = None,
    cache: str = "memory",
) -> tf.data.Dataset:
    """Creates shuffled training batches, repeated indefinitely.

    Args:
        source: the examples.
        batch_size: number of examples per batch.
        shard: the part to read. It must not be empty.
        seed: seed of the order; None draws a new one.
        cache: `memory`, `none`, or the path of a cache file.

    Returns:
        Dataset of batches as `source.parse` returns them.

    Example:

    ```python
    from models import input as examples

    source = examples.ExampleFiles.of(["transformed/*"], image_size=224, num_classes=2)
    for images, labels in examples.training(source, 16, examples.Shard(), seed=0).take(1):
        print(images.shape, labels.shape)  # (16, 224, 224, 3) (16, 2)
    ```
    """
    records = _cached(source.training(shard, seed is not None), cache)
    records = records.shuffle(min(source.count, _SHUFFLE_BUFFER), seed=seed).repeat()
    batches = records.batch(batch_size, drop_remainder=True)
    batches = batches.map(
        lambda *batch: source.parse(_element(batch), training=True),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return batches.with_options(_options(seed is not None)).prefetch(tf.data.AUTOTUNE)


def evaluation(
    source: Examples, batch_size: int, steps: int, shard: Shard, *, cache: str = "memory"
) -> tf.data.Dataset:
    """Creates batches with each example once, and the same number of batches on every worker.

    Pads the last batches with examples of weight zero. The weights of the other examples are
    scaled so that the mean weight is one: means over all workers are exact.

    Args:
        source: the examples.
        batch_size: number of examples per batch on one replica.
        steps: number of batches that one worker reads in a pass over all examples.
        shard: the part to read, every `workers`-th example.
        cache: `memory`, `none`, or the path of a cache file.

    Returns:
        Dataset of batches as `source.parse` returns them and weights float32 [batch_size],
        repeated indefinitely.
    """
    weight = max(1.0, steps * batch_size * shard.workers / source.count)
    real = source.evaluation(shard).map(lambda *record: (_element(record), weight))
    padding = source.padding().repeat().map(lambda *record: (_element(record), 0.0))
    padded = _cached(real.concatenate(padding).take(steps * batch_size), cache).repeat()
    batches = padded.batch(batch_size, drop_remainder=True).map(
        lambda batch, weights: (*source.parse(batch), weights),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return batches.with_options(_options(deterministic=True)).prefetch(tf.data.AUTOTUNE)


def one_pass(source: ExampleFiles, batch_size: int, shard: Shard) -> tf.data.Dataset:
    """Reads a worker's examples once, in order: serialised examples, string [batch_size]."""
    # Without autotuning, whose thread delays the end of an iterator: see `PersistentIterator`.
    batches = source.evaluation(shard).batch(batch_size)
    return batches.with_options(_options(deterministic=True)).prefetch(1)


class PersistentIterator(tf.distribute.DistributedDataset):
    """A dataset with a single iterator: each pass continues where the last one ended.

    Keras creates an iterator for every validation. Destroying one waits for its autotuning thread,
    which sleeps for up to a minute and often misses the signal to wake up (TensorFlow 2.16: after
    every third epoch on two cores). See also `close`.

    Args:
        dataset: a dataset that is repeated indefinitely.
    """

    def __init__(self, dataset: tf.distribute.DistributedDataset):
        self._dataset = dataset
        self._iterator: Iterator[Any] = iter(dataset)

    def __iter__(self) -> Iterator[Any]:
        return self._iterator

    @property
    def element_spec(self) -> Any:
        """The dataset's element spec."""
        return self._dataset.element_spec


def close(datasets: list[PersistentIterator]) -> None:
    """Empties the list and destroys the iterators in a background thread."""

    def end() -> None:
        datasets.clear()
        gc.collect()  # Keras holds them in reference cycles.

    threading.Thread(target=end, name="iterators").start()


def class_counts(source: ExampleFiles) -> list[int]:
    """Counts the examples of each class by reading all of them."""
    spec = {features.LABEL: tf.io.FixedLenFeature([], tf.int64)}
    counts = tf.zeros([source.num_classes], tf.int64)
    for batch in _read(source.files).batch(1024).with_options(_options(deterministic=True)):
        labels = tf.io.parse_example(batch, spec)[features.LABEL]
        counts += tf.reduce_sum(tf.one_hot(labels, source.num_classes, dtype=tf.int64), axis=0)
    return [int(count) for count in counts.numpy()]


def steps_of_one_pass(source: Examples, global_batch: int) -> int:
    """Returns the number of batches of `global_batch` examples in one pass."""
    return math.ceil(source.count / global_batch)


def _splits_evenly(files: Sequence[str], workers: int) -> bool:
    """Whether a split by file gives each worker several files and a similar number of bytes."""
    if len(files) < _MIN_FILES_PER_WORKER * workers:
        return False
    sizes: list[int] = [tf.io.gfile.stat(file).length for file in files]
    shares = [sum(sizes[worker::workers]) for worker in range(workers)]
    return max(shares) <= _MAX_IMBALANCE * min(shares)


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


def _element(arguments: tuple[Any, ...]) -> Any:
    """Returns the dataset element that `map` unpacked into these arguments."""
    return arguments[0] if len(arguments) == 1 else arguments


def _options(deterministic: bool) -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = deterministic
    # See `PersistentIterator`. One call per core is as fast (benchmarks/input.py).
    options.autotune.enabled = False
    # The datasets are already split by worker; a second split would lose examples.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
