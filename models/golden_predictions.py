"""The trained model's predictions for a few images, to compare the exported model with."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from models import files
from models import input as examples

FILE = "reference.npz"
_EXAMPLES = 8


def sample(source: examples.ExampleFiles) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first images, uint8 [n, size, size, 3], and their one-hot labels, n at most 8."""
    batch = min(_EXAMPLES, source.count)
    batches = examples.evaluation(source, batch, 1, examples.Shard(), cache="none")
    images, labels, _ = next(iter(batches))
    return images, labels


def predict(model: tf_keras.Model, images: tf.Tensor) -> NDArray[Any]:
    """Predicts in one process of a cluster while the others do not.

    Args:
        model: a model under the strategy of its training.
        images: uint8 [n, size, size, 3].

    Returns:
        Probabilities, float32 [n, classes].
    """
    strategy = model.distribute_strategy
    # In a replica's context: elsewhere reading batch statistics waits for all workers. Eagerly,
    # because tracing a graph takes longer than predicting a few images.
    outputs = strategy.run(lambda: model(tf.cast(images, tf.float32), training=False))
    probabilities: NDArray[Any] = strategy.experimental_local_results(outputs)[0].numpy()
    return probabilities


def save(folder: str, model: tf_keras.Model, source: examples.ExampleFiles) -> None:
    """Writes the predictions for the first images of `source` to `reference.npz` in the folder.

    The file holds `pixels`, uint8 [n, size, size, 3], and `probabilities`, float32 [n, classes].
    """
    images, _ = sample(source)
    buffer = io.BytesIO()
    probabilities = predict(model, images).astype(np.float32)
    np.savez_compressed(buffer, pixels=images.numpy(), probabilities=probabilities)
    files.write(f"{folder}/{FILE}", buffer.getvalue())
