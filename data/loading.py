"""`load`: a folder of records as tf.data datasets. The only module that needs TensorFlow."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

from data.conversion.convert import ConversionSource, convert
from data.conversion.manifest import read_manifest
from data.errors import DataError, NotFoundError
from data.record.records import (
    IMAGE,
    IMAGE_CHANNELS,
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    JPEG_MAGIC,
    Features,
)
from data.record_set import check_sizes, read_shard, shards_of
from data.storage import files

if TYPE_CHECKING:
    import tensorflow as tf


def load(
    tfrecord_dir: str | os.PathLike[str], *, decode: bool = False
) -> dict[str, tf.data.Dataset]:
    """Loads the records of a folder by split.

    Reads the first record of each split to determine its features; the datasets read the others.
    `python -m data load-check` checks all of them.

    Args:
        tfrecord_dir: A folder or URI that `convert` or TFRecorder has written.
        decode: Decode `image` to pixels (uint8, [height, width, channels]).

    Returns:
        A dataset for each of `TRAIN`, `VALIDATION` and `TEST` with shards. Each element is a dict
        of the features in `data.record.records`, scalars of type string, int64 or float32, in the
        order of the shards. A split with empty shards has the features of the others.

    Raises:
        DataError: TensorFlow is missing; no such folder or no records; an unfinished conversion;
            shards that the manifest does not list or that have another size; a first record that is
            broken or has a feature without exactly one value; or no images to decode.

    Example:
        ```python
        import data

        converted = data.convert("photos", encoding="jpeg")
        for features in data.load(converted["tfrecord_dir"], decode=True)["TRAIN"].take(1):
            print(features["image"].shape, features["label"].numpy())
        ```
    """
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise DataError(
            "Loading records needs TensorFlow, which is not installed",
            "Install it with: pip install tensorflow",
        ) from error

    folder = files.checked(tfrecord_dir)
    shards = shards_of(folder)
    if manifest := read_manifest(folder):
        check_sizes(folder, manifest)
    firsts = {split: first for split in shards if (first := _first_record(shards[split]))}
    if not firsts:
        raise NotFoundError(f"No records in {folder}", f"It has {len(shards)} splits, all empty.")
    some = next(iter(firsts.values()))
    if decode and not isinstance(some.get(IMAGE), bytes):
        raise DataError(f"{folder} has no images to decode", f"Its features: {', '.join(some)}.")
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
            image = first.get(IMAGE)
            is_jpeg = isinstance(image, bytes) and image.startswith(JPEG_MAGIC)
            dataset = dataset.map(
                lambda features, is_jpeg=is_jpeg: features | {IMAGE: _pixels(features, is_jpeg)},
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        datasets[split.upper()] = dataset
    return datasets


def convert_and_load(
    source: ConversionSource, *args: Any, **options: Any
) -> dict[str, tf.data.Dataset]:
    """Calls `convert` with these arguments, then `load` with the new folder.

    Raises:
        DataError: As `convert` and `load`; or the runner only submits the conversion.

    Example:
        ```python
        import data

        datasets = data.convert_and_load("photos", encoding="jpeg")
        ```
    """
    converted = convert(source, *args, **options)
    if "metrics" not in converted:
        raise DataError(
            f"The job {converted['job_id']} has been submitted and is not finished",
            f"Call data.load({converted['tfrecord_dir']!r}) when it is.",
        )
    return load(converted["tfrecord_dir"])


def _first_record(paths: list[str]) -> Features | None:
    """Reads the features of the first record; None if all shards are empty."""
    return next(itertools.chain.from_iterable(map(read_shard, paths)), None)


def _feature_spec(record: Features, folder: str) -> dict[str, tf.io.FixedLenFeature]:
    """Returns the features of a record for `tf.io.parse_single_example`."""
    import tensorflow as tf

    types = {bytes: tf.string, int: tf.int64, float: tf.float32}
    for name, value in record.items():
        if isinstance(value, list):
            raise DataError(
                f"{folder}: feature {name!r} has {len(value)} values in a record, expected one",
                "Convert the photos again.",
            )
    return {name: tf.io.FixedLenFeature([], types[type(value)]) for name, value in record.items()}


def _pixels(features: dict[str, tf.Tensor], is_jpeg: bool) -> tf.Tensor:
    """Decodes the image of a parsed record to uint8, [height, width, channels]."""
    import tensorflow as tf

    if is_jpeg:
        return tf.io.decode_jpeg(features[IMAGE], dct_method="INTEGER_ACCURATE")
    flat = tf.io.decode_raw(tf.io.decode_base64(features[IMAGE]), tf.uint8)
    shape = [features[name] for name in (IMAGE_HEIGHT, IMAGE_WIDTH, IMAGE_CHANNELS)]
    return tf.reshape(flat, shape)
