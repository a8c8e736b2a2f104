"""What a training tells Weights & Biases: each epoch's metrics, and predictions as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from models import input as examples
from models.tracking.wandb_tracker import Tracker

_IMAGES = 8


class Metrics(tf_keras.callbacks.Callback):
    """Logs each epoch through W&B's own `WandbMetricsLogger`, in the tracker's thread.

    Args:
        tracker: takes what is logged.
        earlier: epochs that an earlier process did, as in `history.json`: the resumed run, which
            replaces that process's, shows them too.
    """

    def __init__(self, tracker: Tracker, earlier: Sequence[dict[str, float]] = ()):
        super().__init__()
        self._tracker = tracker
        tracker.submit(lambda run: self._begin(run, earlier))

    def on_epoch_end(self, epoch, logs=None):
        """Hands the epoch over."""
        rate = tf.constant(self.model.optimizer.learning_rate.numpy())
        metrics = dict(logs or {})
        self._tracker.submit(lambda run: self._log(epoch, metrics, rate))

    def _begin(self, run: Any, earlier: Sequence[dict[str, float]]) -> None:
        from wandb.integration.keras import WandbMetricsLogger

        self._logger = WandbMetricsLogger(log_freq="epoch")
        for row in earlier:
            metrics = {f"epoch/{name}": value for name, value in row.items()}
            run.log(metrics | {"epoch/epoch": row["epoch"] - 1})

    def _log(self, epoch: int, logs: dict[str, float], rate: tf.Tensor) -> None:
        # The model itself has gone on: the logger is shown the rate as it was.
        self._logger.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=rate)))
        self._logger.on_epoch_end(epoch, logs)


class Predictions(tf_keras.callbacks.Callback):
    """Logs a sample of validation photos with what the model takes them for.

    Args:
        tracker: takes what is logged.
        model: images to probabilities, of which the trained one may be a part.
        validation: where the photos come from: its first ones.
        labels: class names in the order of their indices.
        every: epochs between two samples.
    """

    def __init__(
        self,
        tracker: Tracker,
        model: tf_keras.Model,
        validation: examples.Source,
        labels: Sequence[str],
        every: int,
    ):
        super().__init__()
        self._tracker, self._labels = tracker, labels
        self._predicts, self._every = model, every
        count = min(_IMAGES, validation.count)
        sample = examples.evaluation(validation, count, 1, examples.Shard(), cache="none")
        self._photos, truth, _ = next(iter(sample))
        self._truth = truth.numpy().argmax(1)

    def on_epoch_end(self, epoch, logs=None):
        """Asks the model and hands photos and answers over."""
        if (epoch + 1) % self._every:
            return
        # In a replica's context: elsewhere reading batch statistics waits for all workers.
        strategy = self._predicts.distribute_strategy
        outputs = strategy.run(
            lambda: self._predicts(tf.cast(self._photos, tf.float32), training=False)
        )
        scores = strategy.experimental_local_results(outputs)[0].numpy()
        self._tracker.submit(lambda run: self._log(run, epoch, scores))

    def _log(self, run: Any, epoch: int, scores: np.ndarray) -> None:
        import wandb

        rows = zip(self._photos.numpy(), self._truth, scores, strict=True)
        pictures = [
            wandb.Image(
                photo,
                caption=f"{self._labels[score.argmax()]} {score.max():.2f}, "
                f"labelled {self._labels[label]}",
            )
            for photo, label, score in rows
        ]
        run.log({"predictions": pictures, "epoch/epoch": epoch})
