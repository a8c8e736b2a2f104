"""From the image of a record to pixels: the one preprocessing that training and serving share."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models import features

# Encoded images begin with a byte outside ASCII (ff: JPEG, 89: PNG); base64 text never does.
_ENCODED = (b"\xff", b"\x89")


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]):
    """Transform's entry point: every image decoded and resized, the label passed through.

    Args:
        inputs: raw features, dense or sparse. `image` holds either the encoded JPEG (or PNG), or
            TFRecorder's URL-safe base64 of raw pixels, for which `image_height`, `image_width`
            and `image_channels` (1 to 4) give the shape. `label` is optional.
        custom_config: `image_size`, the side in pixels of the square that images are resized to.

    Returns:
        `image`: string [batch], size*size*3 bytes of uint8 each; `label`: int64 [batch].
    """
    size = int(custom_config["image_size"])
    photos = _column(inputs[features.IMAGE])
    batch = tf.size(photos)
    shape = [
        _column(inputs[name], batch) if name in inputs else tf.zeros([batch], tf.int64)
        for name in (features.IMAGE_HEIGHT, features.IMAGE_WIDTH, features.IMAGE_CHANNELS)
    ]
    outputs = {features.IMAGE: pack(decode_and_resize(photos, *shape, size=size))}
    if features.LABEL in inputs:
        outputs[features.LABEL] = _column(inputs[features.LABEL], batch)
    return outputs


def decode_and_resize(photos, heights, widths, channels, *, size: int):
    """Decodes and resizes a batch of images.

    Args:
        photos: string [batch], the `image` feature in either encoding.
        heights, widths, channels: int64 [batch]; read for raw pixels only.
        size: side of the result in pixels.

    Returns:
        uint8 [batch, size, size, 3].

    Raises:
        tf.errors.InvalidArgumentError: at run time, for an image that cannot be decoded or whose
            pixels disagree with its declared shape.
    """
    return tf.map_fn(
        lambda item: resize(decode(*item), size),
        (photos, heights, widths, channels),
        fn_output_signature=tf.TensorSpec([size, size, features.CHANNELS], tf.uint8),
    )


def decode(photo, height, width, channels):
    """One image in either encoding as uint8 [height, width, 3]; alpha is dropped, grey repeated."""
    encoded = tf.reduce_any(tf.equal(tf.strings.substr(photo, 0, 1), _ENCODED))
    pixels = tf.cond(
        encoded,
        # The accurate transform gives the very pixels that Pillow does; TensorFlow's default
        # does not. decode_jpeg reads PNG as well.
        lambda: tf.io.decode_jpeg(photo, channels=features.CHANNELS, dct_method="INTEGER_ACCURATE"),
        lambda: _decode_raw(photo, height, width, channels),
    )
    return tf.ensure_shape(pixels, [None, None, features.CHANNELS])


def resize(pixels, size: int):
    """Resizes uint8 [..., height, width, 3] to [..., size, size, 3], bilinear with antialias."""
    resized = tf.image.resize(pixels, [size, size], method="bilinear", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


def pack(images):
    """Turns uint8 [batch, size, size, 3] into one bytes string an image: string [batch]."""
    length = images.shape[1] * images.shape[2] * images.shape[3]
    # A serialised tensor is a header and then the raw bytes; only the bytes are kept.
    serialised = tf.map_fn(tf.io.serialize_tensor, images, fn_output_signature=tf.string)
    return tf.strings.substr(serialised, -length, length)


def unpack(packed, size: int):
    """The inverse of `pack`: string [batch] to uint8 [batch, size, size, 3]."""
    shape = [-1, size, size, features.CHANNELS]
    return tf.reshape(tf.io.decode_raw(packed, tf.uint8), shape)


def _decode_raw(photo, height, width, channels):
    flat = tf.io.decode_raw(tf.io.decode_base64(photo), tf.uint8)
    shape = tf.stack([height, width, channels])
    check = tf.debugging.Assert(
        tf.equal(tf.size(flat, tf.int64), tf.reduce_prod(shape)),
        [
            "An image's pixel bytes disagree with its height, width and channels:",
            shape,
            "bytes:",
            tf.size(flat),
        ],
    )
    with tf.control_dependencies([check]):
        pixels = tf.reshape(flat, shape)
    # 1 is grey, 2 grey with alpha, 3 RGB, 4 RGB with alpha.
    return tf.cond(
        channels < features.CHANNELS,
        lambda: tf.repeat(pixels[..., :1], features.CHANNELS, axis=-1),
        lambda: pixels[..., : features.CHANNELS],
    )


def _column(feature, batch=None):
    """A feature with one value an example, however it was parsed, as a dense vector.

    Missing values of a sparse feature become zero or the empty string.
    """
    if not isinstance(feature, tf.SparseTensor):
        return tf.reshape(feature, [-1])
    if batch is None:
        batch = tf.cast(feature.dense_shape[0], tf.int32)
    rows = feature.indices[:, :1]
    if feature.dtype == tf.string:
        return tf.tensor_scatter_nd_update(tf.fill([batch], ""), rows, feature.values)
    return tf.scatter_nd(rows, feature.values, tf.cast([batch], tf.int64))
