"""`load`: a folder of records as tf.data datasets. The one part of `data` that needs TensorFlow."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from data import files, inspection
from data.conversion import convert
from data.errors import DataError
from data.record_set import describe, shards_of
from data.records import IMAGE, IMAGE_CHANNELS, IMAGE_HEIGHT, IMAGE_WIDTH, JPEG

if TYPE_CHECKING:
    import tensorflow as tf


def load(tfrecord_dir: str | os.PathLike, *, decode: bool = False) -> dict[str, tf.data.Dataset]:
    """The records of a folder, by split.

    Args:
        tfrecord_dir: A folder that `convert` or the real TFRecorder wrote; may be a URI.
        decode: Put the pixels in `image` (uint8, [height, width, channels]) instead of the bytes
            that the record holds.

    Returns:
        `TRAIN`, `VALIDATION` and `TEST`, those with records. Each element is a dict of the features
        in `data.records`, scalars of string, int64 or float32, in the order of the shards.

    Raises:
        DataError: No TensorFlow, a folder that is not whole, records that are not one value a
            feature, or no photos to decode.
    """
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise DataError(
            "Reading records back needs TensorFlow, which is not installed",
            "Install it with: pip install tensorflow",
        ) from error

    folder = files.checked(tfrecord_dir)
    found = describe(folder)
    if decode and found.encoding is None:
        raise DataError(
            f"{folder} has no photos to decode", f"Its features: {', '.join(found.features)}."
        )
    shards = shards_of(folder)
    datasets = {}
    for split in found.counts:
        spec = feature_spec(folder, split)
        compression = "GZIP" if shards[split][0].endswith(".gz") else ""
        dataset = tf.data.TFRecordDataset(shards[split], compression).map(
            lambda record, spec=spec: tf.io.parse_single_example(record, spec),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        if decode:
            dataset = dataset.map(
                lambda features: features | {IMAGE: pixels(features, found.encoding)},
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


def feature_spec(folder: str, split: str) -> dict[str, tf.io.FixedLenFeature]:
    """The features of the first record of a split, for `tf.io.parse_single_example`.

    Raises:
        DataError: A feature has not just one value.
    """
    import tensorflow as tf

    types = {bytes: tf.string, int: tf.int64, float: tf.float32}
    (first,) = itertools.islice(inspection.read_split(folder, split.upper()), 1)
    for name, value in first.items():
        if isinstance(value, list):
            raise DataError(
                f"{folder}: feature {name!r} has {len(value)} values in a record, expected one"
            )
    return {name: tf.io.FixedLenFeature([], types[type(value)]) for name, value in first.items()}


def pixels(features: dict[str, tf.Tensor], encoding: str) -> tf.Tensor:
    """The pixels of a parsed record: uint8, [height, width, channels]."""
    import tensorflow as tf

    if encoding == JPEG:
        return tf.io.decode_jpeg(features[IMAGE], dct_method="INTEGER_ACCURATE")
    flat = tf.io.decode_raw(tf.io.decode_base64(features[IMAGE]), tf.uint8)
    shape = [features[name] for name in (IMAGE_HEIGHT, IMAGE_WIDTH, IMAGE_CHANNELS)]
    return tf.reshape(flat, shape)
