"""The preprocessing that training and serving share: decodes and resizes images."""

from __future__ import annotations

from typing import Any, TypeAlias

import tensorflow as tf

from models import features

# Encoded images begin with a byte outside ASCII (ff: JPEG, 89: PNG); base64 text never does.
_ENCODED = (b"\xff", b"\x89")
_Feature: TypeAlias = "tf.Tensor | tf.SparseTensor"


def preprocessing_fn(
    inputs: dict[str, _Feature], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor]:
    """Transform's entry point: decodes and resizes images, and passes labels through.

    Args:
        inputs: raw features, dense or sparse. `image` holds either an encoded JPEG or PNG, or
            TFRecorder's URL-safe base64 of raw pixels, whose shape is in `image_height`,
            `image_width` and `image_channels` (1 to 4). `label` is optional.
        custom_config: `image_size`, the height and width of the resized images in pixels.

    Returns:
        `image`: string [batch], each of size*size*3 uint8; `label`: int64 [batch].
    """
    size = int(custom_config["image_size"])
    images = _column(inputs[features.IMAGE])
    batch = tf.size(images)
    shape = [
        _column(inputs[name], batch) if name in inputs else tf.zeros([batch], tf.int64)
        for name in (features.IMAGE_HEIGHT, features.IMAGE_WIDTH, features.IMAGE_CHANNELS)
    ]
    outputs = {features.IMAGE: pack(decode_and_resize(images, *shape, size=size))}
    if features.LABEL in inputs:
        outputs[features.LABEL] = _column(inputs[features.LABEL], batch)
    return outputs


def decode_and_resize(
    images: tf.Tensor, heights: tf.Tensor, widths: tf.Tensor, channels: tf.Tensor, *, size: int
) -> tf.Tensor:
    """Decodes and resizes a batch of images.

    Args:
        images: string [batch], the `image` feature in either encoding.
        heights: int64 [batch]; used for raw pixels only.
        widths: int64 [batch]; used for raw pixels only.
        channels: int64 [batch]; used for raw pixels only.
        size: height and width of the result in pixels.

    Returns:
        uint8 [batch, size, size, 3].

    Raises:
        tf.errors.InvalidArgumentError: At run time, if an image cannot be decoded, or the number of
            its raw pixels differs from the declared shape.
    """
    return tf.map_fn(
        lambda item: resize(decode(*item), size),
        (images, heights, widths, channels),
        fn_output_signature=tf.TensorSpec([size, size, features.CHANNELS], tf.uint8),
    )


def decode(image: tf.Tensor, height: tf.Tensor, width: tf.Tensor, channels: tf.Tensor) -> tf.Tensor:
    """Decodes an image to uint8 [height, width, 3]; drops alpha, repeats grey three times."""
    encoded = tf.reduce_any(tf.equal(tf.strings.substr(image, 0, 1), _ENCODED))
    pixels = tf.cond(
        encoded,
        # INTEGER_ACCURATE gives the same pixels as Pillow; TensorFlow's default does not.
        # decode_jpeg also decodes PNG.
        lambda: tf.io.decode_jpeg(image, channels=features.CHANNELS, dct_method="INTEGER_ACCURATE"),
        lambda: _decode_raw(image, height, width, channels),
    )
    return tf.ensure_shape(pixels, [None, None, features.CHANNELS])


def resize(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes [..., height, width, 3] to uint8 [..., size, size, 3], bilinear with antialias."""
    resized = tf.image.resize(pixels, [size, size], method="bilinear", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


def pack(images: tf.Tensor) -> tf.Tensor:
    """Packs uint8 [batch, size, size, 3] into one string per image: string [batch]."""
    length = images.shape[1] * images.shape[2] * images.shape[3]
    # A serialised tensor is a header followed by the raw bytes.
    serialised = tf.map_fn(tf.io.serialize_tensor, images, fn_output_signature=tf.string)
    return tf.strings.substr(serialised, -length, length)


def unpack(packed: tf.Tensor, size: int) -> tf.Tensor:
    """Inverts `pack`: string [batch] to uint8 [batch, size, size, 3]."""
    shape = [-1, size, size, features.CHANNELS]
    return tf.reshape(tf.io.decode_raw(packed, tf.uint8), shape)


def _decode_raw(
    image: tf.Tensor, height: tf.Tensor, width: tf.Tensor, channels: tf.Tensor
) -> tf.Tensor:
    flat = tf.io.decode_raw(tf.io.decode_base64(image), tf.uint8)
    shape = tf.stack([height, width, channels])
    check = tf.debugging.Assert(
        tf.equal(tf.size(flat, tf.int64), tf.reduce_prod(shape)),
        [
            "The number of an image's bytes differs from height * width * channels:",
            shape,
            "bytes:",
            tf.size(flat),
        ],
    )
    with tf.control_dependencies([check]):
        pixels = tf.reshape(flat, shape)
    # Channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
    return tf.cond(
        channels < features.CHANNELS,
        lambda: tf.repeat(pixels[..., :1], features.CHANNELS, axis=-1),
        lambda: pixels[..., : features.CHANNELS],
    )


def _column(feature: _Feature, batch: tf.Tensor | None = None) -> tf.Tensor:
    """Returns a dense or sparse feature with one value per example as a dense vector.

    Missing values become zero or the empty string.
    """
    if not isinstance(feature, tf.SparseTensor):
        return tf.reshape(feature, [-1])
    if batch is None:
        batch = tf.cast(feature.dense_shape[0], tf.int32)
    rows = feature.indices[:, :1]
    if feature.dtype == tf.string:
        return tf.tensor_scatter_nd_update(tf.fill([batch], ""), rows, feature.values)
    return tf.scatter_nd(rows, feature.values, tf.cast([batch], tf.int64))
