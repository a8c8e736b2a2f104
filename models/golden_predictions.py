"""What the trained model answers to a few examples: the exported one must answer the same."""

from __future__ import annotations

import io

import numpy as np
import tensorflow as tf
import tf_keras

from models import files
from models import input as examples

FILE = "reference.npz"
_EXAMPLES = 8


def answers(model: tf_keras.Model, validation: examples.Source) -> dict[str, np.ndarray]:
    """The model's answers to the first examples, as it stands at the end of the training.

    Args:
        model: the trained model, under the strategy of its training.
        validation: where the examples are taken from.

    Returns:
        `pixels`, uint8 [n, size, size, 3], and `probabilities`, float32 [n, classes], n at most 8.
    """
    batch = min(_EXAMPLES, validation.count)
    source = examples.evaluation(validation, batch, 1, examples.Shard(), cache="none")
    pixels, *_ = next(iter(source))
    strategy = model.distribute_strategy
    # In a replica's context: elsewhere reading batch statistics waits for all workers. Without a
    # graph, which takes longer to trace than these few examples take.
    outputs = strategy.run(lambda: model(tf.cast(pixels, tf.float32), training=False))
    probabilities = strategy.experimental_local_results(outputs)[0]
    return {"pixels": pixels.numpy(), "probabilities": probabilities.numpy().astype(np.float32)}


def save(folder: str, answered: dict[str, np.ndarray]) -> None:
    """Writes what `answers` gave to `reference.npz` in the folder."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **answered)
    files.write(f"{folder}/{FILE}", buffer.getvalue())
