"""The signatures of the exported SavedModel, which needs TensorFlow alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras

from models import features, preprocessing

LABELS_FILE = "labels.txt"
MAX_PIXELS = 89_478_485
"""Largest height times width of an image in `serving_pixels`, the same as for photos."""
_Spec: TypeAlias = "tf.io.FixedLenFeature | tf.io.VarLenFeature"
_Feature: TypeAlias = "tf.Tensor | tf.SparseTensor"


class Classifier(tf.Module):
    """A trained model with its transform graph and serving signatures.

    Every signature that predicts returns `label` (string [batch]), `label_index` (int64 [batch])
    and `probabilities` (float32 [batch, classes]).

    Args:
        model: maps float32 [batch, size, size, 3] in 0..255 to probabilities [batch, classes];
            built outside any distribution strategy.
        transform_output: Transform's output, applied to all requests but `serving_pixels`.
        labels: class names in the order of their indices.
        image_size: height and width of the model's input in pixels.
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
        # Track the weights only: saving the Keras object would trace every layer again.
        self.weights = model.variables
        self._transform = tf.saved_model.load(transform_output.transform_savedmodel_dir)
        self._raw_spec = transform_output.raw_feature_spec()
        self._labels = tuple(labels)
        self._size = image_size

    def save(self, path: str) -> None:
        """Writes the SavedModel with all signatures, and the labels as an asset."""
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

    # TensorFlow has no types, so that mypy takes `tf.function` for an untyped decorator.
    @tf.function  # type: ignore[untyped-decorator]
    def predict_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts serialised tf.Example records, string [batch], of any image encoding."""
        return self._predict_transformed(self._transform_inputs(self._parse(examples)))

    @tf.function  # type: ignore[untyped-decorator]
    def predict_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts JPEG or PNG files, string [batch]."""
        return self._predict_transformed(self._transform_inputs({features.IMAGE: image_bytes}))

    @tf.function  # type: ignore[untyped-decorator]
    def predict_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts images in 0..255, float32 [batch, height, width, 3].

        Images of another size than the model's are resized by the training's preprocessing.

        Raises:
            tf.errors.InvalidArgumentError: At run time, if the images have no pixels, more than
                `MAX_PIXELS`, or other than 3 channels.
        """
        outputs: dict[str, tf.Tensor] = self._predict(self._at_model_size(pixels))
        return outputs

    @tf.function  # type: ignore[untyped-decorator]
    def transform_features(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Transforms serialised tf.Example records, string [batch], to the training's features."""
        return self._transform_inputs(self._parse(examples))

    def _predict_transformed(self, transformed: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        packed = tf.reshape(transformed[features.IMAGE], [-1])
        images = tf.cast(preprocessing.unpack(packed, self._size), tf.float32)
        outputs: dict[str, tf.Tensor] = self._predict(images)
        return outputs

    @tf.function  # type: ignore[untyped-decorator]
    def _predict(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts float32 [batch, size, size, 3] in 0..255; traced once for all signatures."""
        probabilities = self._model(pixels, training=False)
        index = tf.argmax(probabilities, axis=1)
        return {
            features.PREDICTED_LABEL: tf.gather(tf.constant(self._labels), index),
            features.PREDICTED_INDEX: index,
            features.PROBABILITIES: probabilities,
        }

    def _at_model_size(self, pixels: tf.Tensor) -> tf.Tensor:
        # Signatures do not check shapes, and a convolution would accept 6 channels as 2 groups.
        pixels = tf.ensure_shape(pixels, [None, None, None, features.CHANNELS])
        # int64, because height times width can overflow int32.
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

    def _parse(self, examples: tf.Tensor) -> dict[str, _Feature]:
        # Requests may lack any feature but the image, such as the label.
        spec = {name: _optional(each) for name, each in self._raw_spec.items()}
        parsed: dict[str, _Feature] = tf.io.parse_example(examples, spec)
        return parsed

    def _transform_inputs(self, raw: dict[str, _Feature]) -> dict[str, tf.Tensor]:
        batch = tf.size(raw[features.IMAGE])
        complete = {
            name: _shaped(raw[name], spec, batch) if name in raw else _missing(spec, batch)
            for name, spec in self._raw_spec.items()
        }
        transformed: dict[str, tf.Tensor] = self._transform.transform_fn(complete)
        return transformed


def _untracked(model: tf_keras.Model) -> Callable[..., tf.Tensor]:
    """Hides a Keras model from tf.Module's tracking."""
    return lambda *args, **kwargs: model(*args, **kwargs)


def _optional(spec: _Spec) -> _Spec:
    if not isinstance(spec, tf.io.FixedLenFeature):
        return spec
    empty = "" if spec.dtype == tf.string else 0
    default = tf.fill(spec.shape, tf.constant(empty, spec.dtype))
    return tf.io.FixedLenFeature(spec.shape, spec.dtype, default)


def _shaped(value: _Feature, spec: _Spec, batch: tf.Tensor) -> _Feature:
    if not isinstance(spec, tf.io.FixedLenFeature):
        return value
    return tf.reshape(value, [batch, *spec.shape])


def _missing(spec: _Spec, batch: tf.Tensor) -> _Feature:
    empty = tf.constant("" if spec.dtype == tf.string else 0, spec.dtype)
    if isinstance(spec, tf.io.FixedLenFeature):
        return tf.fill([batch, *spec.shape], empty)
    indices = tf.zeros([0, 2], tf.int64)
    return tf.SparseTensor(indices, tf.fill([0], empty), tf.cast([batch, 0], tf.int64))


def _lines(labels: Sequence[str]) -> str:
    """Writes one label per line; escapes backslashes and line breaks with a backslash."""
    escaped = (label.replace("\\", "\\\\").replace("\n", "\\n") for label in labels)
    return "".join(f"{label}\n" for label in escaped)
