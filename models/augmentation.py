"""Random changes to training images, applied on the device that trains, inside the model."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras


class Augment(tf_keras.layers.Layer):
    """Mirrors, turns, zooms, shifts and re-lights each image of a batch at random; training only.

    All geometry is one affine transform an image, so its cost does not grow with the number of
    changes; pixels from outside are mirrored in. Under mixed precision it computes in float32 all
    the same: the sum over an image's pixels is beyond float16.

    Args:
        rotation: largest turn either way, in degrees.
        zoom: largest relative change of scale; the two axes vary by a quarter of it apart.
        shift: largest shift either way, as a share of the side.
        light: largest relative change of contrast and, in units of the full range, of brightness.
        flip: whether to mirror left and right in half of the cases.

    Shapes: float32 [batch, height, width, channels] in 0..255 to the same.
    """

    def __init__(self, rotation=15.0, zoom=0.2, shift=0.1, light=0.25, flip=True, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.rotation = math.radians(rotation)
        self.zoom, self.shift, self.light, self.flip = zoom, shift, light, flip

    def call(self, images, training=False):
        if not training:
            return images
        return self._relight(self._move(images))

    def _move(self, images):
        batch = tf.shape(images)[0]
        height, width = images.shape[1], images.shape[2]

        def draw(limit):
            return tf.random.uniform([batch], -limit, limit)

        angle = draw(self.rotation)
        scale = tf.exp(draw(self.zoom))
        across, down = scale * tf.exp(draw(self.zoom / 4)), scale * tf.exp(draw(self.zoom / 4))
        if self.flip:
            across *= tf.where(tf.random.uniform([batch]) < 0.5, -1.0, 1.0)
        # The transform maps output to input points, about the centre: turn, then scale, then shift.
        a, b = across * tf.cos(angle), -down * tf.sin(angle)
        c, d = across * tf.sin(angle), down * tf.cos(angle)
        x, y = (width - 1) / 2, (height - 1) / 2
        right = x - a * x - b * y + draw(self.shift) * width
        lower = y - c * x - d * y + draw(self.shift) * height
        return warp(images, tf.stack([a, b, right, c, d, lower], axis=1))

    def _relight(self, images):
        shape = [tf.shape(images)[0], 1, 1, 1]
        contrast = 1.0 + tf.random.uniform(shape, -self.light, self.light, images.dtype)
        brightness = 255.0 * tf.random.uniform(shape, -self.light, self.light, images.dtype) / 2
        mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
        return tf.clip_by_value((images - mean) * contrast + mean + brightness, 0.0, 255.0)


def warp(images, transforms):
    """Moves the pixels of each image by its own affine transform, with bilinear interpolation.

    TensorFlow's operation for it, `ImageProjectiveTransformV3`, gives the same, but XLA does not
    know it.

    Args:
        images: float32 [batch, height, width, channels]; pixels from outside are mirrored in.
        transforms: float32 [batch, 6], `a, b, c, d, e, f`: the pixel at (x, y) comes from
            (a x + b y + c, d x + e y + f).

    Returns:
        float32 [batch, height, width, channels].
    """
    batch, (height, width, channels) = tf.shape(images)[0], images.shape[1:]
    x, y = tf.range(float(width))[None, :], tf.range(float(height))[:, None]
    a, b, c, d, e, f = tf.unstack(transforms[:, :, None, None], axis=1)
    across, down = _mirrored(a * x + (b * y + c), width), _mirrored(d * x + (e * y + f), height)
    left, top = tf.floor(across), tf.floor(down)
    across, down = (across - left)[..., None], (down - top)[..., None]
    pixels = tf.reshape(images, [-1, channels])
    first = tf.range(batch)[:, None, None] * (height * width)
    at = first + tf.cast(top, tf.int32) * width + tf.cast(left, tf.int32)

    # Beyond the last column or row the neighbour is any pixel, as its share is zero.
    last = tf.shape(pixels)[0] - 1
    neighbours = (tf.minimum(at + offset, last) for offset in (0, 1, width, width + 1))
    upper, upper_right, lower, lower_right = (tf.gather(pixels, each) for each in neighbours)
    upper += (upper_right - upper) * across
    lower += (lower_right - lower) * across
    return upper + (lower - upper) * down


def _mirrored(at, length: int):
    """Points up to a length outside of an axis, mirrored about its ends."""
    inside = length - tf.abs(length - tf.abs(at + 0.5)) - 0.5
    return tf.clip_by_value(inside, 0.0, length - 1.0)
