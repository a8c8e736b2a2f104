"""Image augmentation as a Keras layer, computed on the training device."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tf_keras


class Augment(tf_keras.layers.Layer):
    """Flips, rotates, zooms, shifts and changes the light of each image at random.

    Active in training only. The geometric changes are combined into one affine transform per image,
    so that images are interpolated once; points outside the image are filled by reflection. The
    layer computes in float32 under mixed precision too, because the sum over an image's pixels
    overflows float16.

    Args:
        rotation: maximal rotation in either direction, in degrees.
        zoom: maximal relative change of scale. The scales of the two axes differ by up to a quarter
            of it.
        shift: maximal shift in either direction, as a fraction of the side.
        light: maximal relative change of contrast. Brightness changes by up to half of it, as a
            fraction of 255.
        flip: whether to flip half of the images horizontally.

    Input and output: float32 [batch, height, width, channels] in 0..255.

    Example:

    ```python
    import tensorflow as tf
    from models.augmentation import Augment

    images = tf.random.uniform([8, 64, 64, 3], maxval=255.0)
    changed = Augment(rotation=10.0)(images, training=True)
    ```
    """

    def __init__(
        self,
        rotation: float = 15.0,
        zoom: float = 0.2,
        shift: float = 0.1,
        light: float = 0.25,
        flip: bool = True,
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.rotation = math.radians(rotation)
        self.zoom, self.shift, self.light, self.flip = zoom, shift, light, flip

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return images
        return self._change_light(self._transform(images))

    def _transform(self, images: tf.Tensor) -> tf.Tensor:
        batch = tf.shape(images)[0]
        height, width = images.shape[1], images.shape[2]

        def draw(limit: float) -> tf.Tensor:
            return tf.random.uniform([batch], -limit, limit)

        angle = draw(self.rotation)
        scale = tf.exp(draw(self.zoom))
        across, down = scale * tf.exp(draw(self.zoom / 4)), scale * tf.exp(draw(self.zoom / 4))
        if self.flip:
            across *= tf.where(tf.random.uniform([batch]) < 0.5, -1.0, 1.0)
        # The transform maps output points to input points: rotation about the centre, then scale,
        # then shift.
        a, b = across * tf.cos(angle), -down * tf.sin(angle)
        c, d = across * tf.sin(angle), down * tf.cos(angle)
        x, y = (width - 1) / 2, (height - 1) / 2
        right = x - a * x - b * y + draw(self.shift) * width
        lower = y - c * x - d * y + draw(self.shift) * height
        return warp(images, tf.stack([a, b, right, c, d, lower], axis=1))

    def _change_light(self, images: tf.Tensor) -> tf.Tensor:
        shape = [tf.shape(images)[0], 1, 1, 1]
        contrast = 1.0 + tf.random.uniform(shape, -self.light, self.light, images.dtype)
        brightness = 255.0 * tf.random.uniform(shape, -self.light, self.light, images.dtype) / 2
        mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
        return tf.clip_by_value((images - mean) * contrast + mean + brightness, 0.0, 255.0)


def warp(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """Applies an affine transform to each image, with bilinear interpolation.

    Gives the same result as `ImageProjectiveTransformV3`, which XLA cannot compile.

    Args:
        images: float32 [batch, height, width, channels]; points outside are filled by reflection.
        transforms: float32 [batch, 6], `a, b, c, d, e, f`: output pixel (x, y) is taken from input
            point (a x + b y + c, d x + e y + f).

    Returns:
        float32 [batch, height, width, channels].
    """
    batch, (height, width, channels) = tf.shape(images)[0], images.shape[1:]
    x, y = tf.range(float(width))[None, :], tf.range(float(height))[:, None]
    a, b, c, d, e, f = tf.unstack(transforms[:, :, None, None], axis=1)
    across, down = _reflect(a * x + (b * y + c), width), _reflect(d * x + (e * y + f), height)
    left, top = tf.floor(across), tf.floor(down)
    across, down = (across - left)[..., None], (down - top)[..., None]
    pixels = tf.reshape(images, [-1, channels])
    first = tf.range(batch)[:, None, None] * (height * width)
    at = first + tf.cast(top, tf.int32) * width + tf.cast(left, tf.int32)

    # Beyond the last row or column any pixel will do as neighbour: its weight is zero.
    last = tf.shape(pixels)[0] - 1
    neighbours = (tf.minimum(at + offset, last) for offset in (0, 1, width, width + 1))
    upper, upper_right, lower, lower_right = (tf.gather(pixels, each) for each in neighbours)
    upper += (upper_right - upper) * across
    lower += (lower_right - lower) * across
    return upper + (lower - upper) * down


def _reflect(at: tf.Tensor, length: int) -> tf.Tensor:
    """Reflects coordinates that lie up to `length` outside an axis at its ends."""
    inside = length - tf.abs(length - tf.abs(at + 0.5)) - 0.5
    return tf.clip_by_value(inside, 0.0, length - 1.0)
