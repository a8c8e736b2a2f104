"""Keras callbacks that log metrics and sample predictions to Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from models import golden_predictions
from models import input as examples
from models.progress import EpochRow
from models.tracking.wandb_tracker import Tracker


class Metrics(tf_keras.callbacks.Callback):
    """Logs each epoch with W&B's `WandbMetricsLogger`, in the tracker's thread.

    Args:
        tracker: the W&B run.
        earlier: rows of `history.json` that an earlier process of this training wrote. They are
            logged first, because the resumed run replaces the earlier process's run.
    """

    def __init__(self, tracker: Tracker, earlier: Sequence[EpochRow] = ()):
        super().__init__()
        self._tracker = tracker
        tracker.submit(lambda run: self._begin(run, earlier))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Submits the epoch's metrics and learning rate."""
        rate = tf.constant(self.model.optimizer.learning_rate.numpy())
        metrics = dict(logs or {})
        self._tracker.submit(lambda run: self._log(epoch, metrics, rate))

    def _begin(self, run: Any, earlier: Sequence[EpochRow]) -> None:
        from wandb.integration.keras import WandbMetricsLogger

        self._logger = WandbMetricsLogger(log_freq="epoch")
        for row in earlier:
            metrics = {f"epoch/{name}": value for name, value in row.items()}
            run.log(metrics | {"epoch/epoch": row["epoch"] - 1})

    def _log(self, epoch: int, logs: dict[str, float], rate: tf.Tensor) -> None:
        # By now the model's own learning rate may have changed.
        self._logger.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=rate)))
        self._logger.on_epoch_end(epoch, logs)


class Predictions(tf_keras.callbacks.Callback):
    """Logs predictions for the first validation images.

    Args:
        tracker: the W&B run.
        model: maps images to probabilities. The model that is fitted may be a part of it.
        validation: validation examples.
        labels: class names in the order of their indices.
        every: number of epochs between two logs.
    """

    def __init__(
        self,
        tracker: Tracker,
        model: tf_keras.Model,
        validation: examples.ExampleFiles,
        labels: Sequence[str],
        every: int,
    ):
        super().__init__()
        self._tracker, self._labels = tracker, labels
        self._whole_model, self._every = model, every
        self._images, truth = golden_predictions.sample(validation)
        self._truth = truth.numpy().argmax(1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Predicts the sample, in every `every`-th epoch."""
        if (epoch + 1) % self._every:
            return
        scores = golden_predictions.predict(self._whole_model, self._images)
        self._tracker.submit(lambda run: self._log(run, epoch, scores))

    def _log(self, run: Any, epoch: int, scores: NDArray[Any]) -> None:
        import wandb

        rows = zip(self._images.numpy(), self._truth, scores, strict=True)
        logged = [
            wandb.Image(
                image,
                caption=f"{self._labels[score.argmax()]} {score.max():.2f}, "
                f"labelled {self._labels[label]}",
            )
            for image, label, score in rows
        ]
        run.log({"predictions": logged, "epoch/epoch": epoch})
