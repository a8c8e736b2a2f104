"""`load`: a folder of records as tf.data datasets. The one part of `data` that needs TensorFlow."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from data.conversion.convert import convert
from data.conversion.manifest import read_manifest
from data.errors import DataError, NotFoundError
from data.record.records import IMAGE, IMAGE_CHANNELS, IMAGE_HEIGHT, IMAGE_WIDTH, JPEG_MAGIC
from data.record_set import check_sizes, read_shard, shards_of
from data.storage import files

if TYPE_CHECKING:
    import tensorflow as tf


def load(tfrecord_dir: str | os.PathLike, *, decode: bool = False) -> dict[str, tf.data.Dataset]:
    """The records of a folder, by split.

    The first record of each split tells its features; the others are read when the datasets are.
    `python -m data load-check` reads and checks all of them.

    Args:
        tfrecord_dir: A folder that `convert` or the real TFRecorder wrote; may be a URI.
        decode: Put the pixels in `image` (uint8, [height, width, channels]) instead of the bytes
            that the record holds.

    Returns:
        `TRAIN`, `VALIDATION` and `TEST`, those with shards. Each element is a dict of the features
        in `data.record.records`, scalars of string, int64 or float32, in the order of the shards. A
        split whose shards are empty has the features of the others.

    Raises:
        DataError: No TensorFlow, no such folder, no records, an unfinished conversion, shards that
            the manifest does not name or that have another size, a first record that is broken or
            has not one value a feature, or no photos to decode.
    """
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise DataError(
            "Reading records back needs TensorFlow, which is not installed",
            "Install it with: pip install tensorflow",
        ) from error

    folder = files.checked(tfrecord_dir)
    shards = shards_of(folder)
    if manifest := read_manifest(folder):
        check_sizes(folder, manifest)
    firsts = {split: first for split in shards if (first := _first_record(shards[split]))}
    if not firsts:
        raise NotFoundError(f"No records in {folder}", f"{len(shards)} splits, all of them empty.")
    some = next(iter(firsts.values()))
    if decode and not isinstance(some.get(IMAGE), bytes):
        raise DataError(f"{folder} has no photos to decode", f"Its features: {', '.join(some)}.")
    datasets = {}
    for split, paths in shards.items():
        first = firsts.get(split, some)
        spec = _feature_spec(first, folder)
        compression = "GZIP" if paths[0].endswith(".gz") else ""
        dataset = tf.data.TFRecordDataset(paths, compression).map(
            lambda record, spec=spec: tf.io.parse_single_example(record, spec),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        if decode:
            is_jpeg = first[IMAGE].startswith(JPEG_MAGIC)
            dataset = dataset.map(
                lambda features, is_jpeg=is_jpeg: features | {IMAGE: _pixels(features, is_jpeg)},
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        datasets[split.upper()] = dataset
    return datasets


def convert_and_load(source, *args, **options) -> dict[str, tf.data.Dataset]:
    """`convert` on this machine and `load` what it wrote; see both.

    Raises:
        DataError: As `convert`; a runner that returns before the records are there.
    """
    converted = convert(source, *args, **options)
    if "metrics" not in converted:
        raise DataError(
            f"The job {converted['job_id']} has only been submitted",
            f"Call data.load({converted['tfrecord_dir']!r}) once it is done.",
        )
    return load(converted["tfrecord_dir"])


def _first_record(paths: list[str]) -> dict | None:
    """The features of the first record; None where all shards are empty."""
    return next(itertools.chain.from_iterable(map(read_shard, paths)), None)


def _feature_spec(record: dict, folder: str) -> dict[str, tf.io.FixedLenFeature]:
    """The features of a record, for `tf.io.parse_single_example`."""
    import tensorflow as tf

    types = {bytes: tf.string, int: tf.int64, float: tf.float32}
    for name, value in record.items():
        if isinstance(value, list):
            raise DataError(
                f"{folder}: feature {name!r} has {len(value)} values in a record, expected one"
            )
    return {name: tf.io.FixedLenFeature([], types[type(value)]) for name, value in record.items()}


def _pixels(features: dict[str, tf.Tensor], is_jpeg: bool) -> tf.Tensor:
    """The pixels of a parsed record: uint8, [height, width, channels]."""
    import tensorflow as tf

    if is_jpeg:
        return tf.io.decode_jpeg(features[IMAGE], dct_method="INTEGER_ACCURATE")
    flat = tf.io.decode_raw(tf.io.decode_base64(features[IMAGE]), tf.uint8)
    shape = [features[name] for name in (IMAGE_HEIGHT, IMAGE_WIDTH, IMAGE_CHANNELS)]
    return tf.reshape(flat, shape)
