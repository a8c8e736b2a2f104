"""The exported SavedModel: every way to ask it for a prediction, with TensorFlow alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras

from models import features, preprocessing

LABELS_FILE = "labels.txt"
MAX_PIXELS = 89_478_485
"""Largest height times width of an image in `serving_pixels`: the bound that photos have."""


class Classifier(tf.Module):
    """A trained model with the transformation of its training, ready to be saved.

    Every signature that predicts returns `label` (string [batch]), `label_index` (int64 [batch])
    and `probabilities` (float32 [batch, classes]).

    Args:
        model: float32 [batch, size, size, 3] in 0..255 to probabilities [batch, classes]; built
            outside any distribution strategy.
        transform_output: Transform's output, which every request but pixels goes through.
        labels: class names in the order of their indices.
        image_size: side in pixels.
    """

    def __init__(
        self,
        model: tf_keras.Model,
        transform_output: tft.TFTransformOutput,
        labels: Sequence[str],
        image_size: int,
    ):
        super().__init__(name="classifier")
        self._model = _untracked(model)
        # Only the weights are tracked: saving the Keras object too would trace every layer again.
        self.weights = model.variables
        self._transform = tf.saved_model.load(transform_output.transform_savedmodel_dir)
        self._raw_spec = transform_output.raw_feature_spec()
        self._labels = tuple(labels)
        self._size = image_size

    def save(self, path: str) -> None:
        """Writes the SavedModel with all signatures and the labels as its asset."""
        examples = tf.TensorSpec([None], tf.string, name="examples")
        images = tf.TensorSpec([None], tf.string, name="image_bytes")
        shape = [None, None, None, features.CHANNELS]
        pixels = tf.TensorSpec(shape, tf.float32, name="pixels")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / LABELS_FILE
            file.write_text(_lines(self._labels), encoding="utf-8")
            self.labels_asset = tf.saved_model.Asset(os.fspath(file))
            tf.saved_model.save(
                self,
                path,
                signatures={
                    "serving_default": self.predict_examples.get_concrete_function(examples),
                    "serving_jpeg": self.predict_images.get_concrete_function(images),
                    "serving_pixels": self.predict_pixels.get_concrete_function(pixels),
                    "transform_features": self.transform_features.get_concrete_function(examples),
                },
            )

    @tf.function
    def predict_examples(self, examples):
        """Serialised tf.Example records, string [batch], in either encoding of the image."""
        return self._predict_transformed(self._transform_inputs(self._parse(examples)))

    @tf.function
    def predict_images(self, image_bytes):
        """JPEG or PNG files, string [batch]."""
        return self._predict_transformed(self._transform_inputs({features.IMAGE: image_bytes}))

    @tf.function
    def predict_pixels(self, pixels):
        """Pixels in 0..255, float32 [batch, height, width, 3], all of one height and width.

        Images of the model's size go to the model as they are; images of another size are resized
        as training resizes its images.

        Raises:
            tf.errors.InvalidArgumentError: at run time, for images without pixels, with more than
                `MAX_PIXELS`, or of other than 3 channels.
        """
        return self._predict(self._at_model_size(pixels))

    @tf.function
    def transform_features(self, examples):
        """Serialised tf.Example records, string [batch], as the features the model trains on."""
        return self._transform_inputs(self._parse(examples))

    def _predict_transformed(self, transformed):
        packed = tf.reshape(transformed[features.IMAGE], [-1])
        return self._predict(tf.cast(preprocessing.unpack(packed, self._size), tf.float32))

    @tf.function
    def _predict(self, pixels):
        """Pixels in 0..255, float32 [batch, size, size, 3]; traced once for all signatures."""
        probabilities = self._model(pixels, training=False)
        index = tf.argmax(probabilities, axis=1)
        return {
            features.PREDICTED_LABEL: tf.gather(tf.constant(self._labels), index),
            features.PREDICTED_INDEX: index,
            features.PROBABILITIES: probabilities,
        }

    def _at_model_size(self, pixels):
        # A signature does not check shapes, and a convolution takes 6 channels as 2 groups of 3.
        pixels = tf.ensure_shape(pixels, [None, None, None, features.CHANNELS])
        # 64 bits, because the product of the sides can overflow 32.
        sides = tf.shape(pixels, out_type=tf.int64)[1:3]
        area = tf.reduce_prod(sides)
        valid = tf.debugging.Assert(
            (area > 0) & (area <= MAX_PIXELS),
            [f"serving_pixels takes images of 1 to {MAX_PIXELS} pixels; height and width:", sides],
        )
        with tf.control_dependencies([valid]):
            pixels = tf.identity(pixels)
        shape = [None, self._size, self._size, features.CHANNELS]
        return tf.cond(
            tf.reduce_all(sides == self._size),
            lambda: tf.ensure_shape(pixels, shape),
            lambda: tf.cast(preprocessing.resize(pixels, self._size), tf.float32),
        )

    def _parse(self, examples):
        # A request need not carry what only training knows, such as the label.
        return tf.io.parse_example(examples, {k: _optional(v) for k, v in self._raw_spec.items()})

    def _transform_inputs(self, raw):
        batch = tf.size(raw[features.IMAGE])
        complete = {
            name: _shaped(raw[name], spec, batch) if name in raw else _missing(spec, batch)
            for name, spec in self._raw_spec.items()
        }
        return self._transform.transform_fn(complete)


def _untracked(model):
    """Hides a Keras model from tf.Module's tracking; its variables are tracked apart."""
    return lambda *args, **kwargs: model(*args, **kwargs)


def _optional(spec):
    if not isinstance(spec, tf.io.FixedLenFeature):
        return spec
    empty = "" if spec.dtype == tf.string else 0
    default = tf.fill(spec.shape, tf.constant(empty, spec.dtype))
    return tf.io.FixedLenFeature(spec.shape, spec.dtype, default)


def _shaped(value, spec, batch):
    if not isinstance(spec, tf.io.FixedLenFeature):
        return value
    return tf.reshape(value, [batch, *spec.shape])


def _missing(spec, batch):
    empty = tf.constant("" if spec.dtype == tf.string else 0, spec.dtype)
    if isinstance(spec, tf.io.FixedLenFeature):
        return tf.fill([batch, *spec.shape], empty)
    nothing = tf.zeros([0, 2], tf.int64)
    return tf.SparseTensor(nothing, tf.fill([0], empty), tf.cast([batch, 0], tf.int64))


def _lines(labels: Sequence[str]) -> str:
    """One label a line; a backslash or line break inside a label is escaped with a backslash."""
    escaped = (label.replace("\\", "\\\\").replace("\n", "\\n") for label in labels)
    return "".join(f"{label}\n" for label in escaped)
