"""Training seen from outside: the terminal's progress bar and history.json."""

from __future__ import annotations

import json
import logging
import os
import time

import tensorflow as tf
import tf_keras

HISTORY_FILE = "history.json"
_progress = logging.getLogger("pawprint.progress")


class ProgressLogger(tf_keras.callbacks.Callback):
    """Reports done and total photos to the `pawprint.progress` logger, twice a second at most."""

    def __init__(self, epochs: int, steps_per_epoch: int, batch_size: int):
        super().__init__()
        self._epochs, self._steps, self._batch = epochs, steps_per_epoch, batch_size
        self._epoch, self._done, self._reported = 0, 0, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1
        self._done = epoch * self._steps

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        if time.monotonic() - self._reported >= 0.5:
            self._report()

    def on_epoch_end(self, epoch, logs=None):
        self._report(logs)

    def on_train_end(self, logs=None):
        self._report(logs, finished=True)

    def _report(self, logs=None, finished=False):
        self._reported = time.monotonic()
        accuracy = (logs or {}).get("val_accuracy")
        score = "" if accuracy is None else f", validation accuracy {accuracy:.3f}"
        _progress.info(
            f"training: epoch {self._epoch} of {self._epochs}{score}",
            extra={
                "progress": {
                    "done": self._done * self._batch,
                    "total": self._epochs * self._steps * self._batch,
                    "unit": "img",
                    "finished": finished,
                }
            },
        )


class History(tf_keras.callbacks.Callback):
    """Keeps `history.json` up to date: every metric of every epoch, and the epoch's seconds.

    Args:
        folders: where to write it; an earlier history in the first is continued.
    """

    def __init__(self, *folders: str):
        super().__init__()
        self._paths = [f"{folder}/{HISTORY_FILE}" for folder in folders]
        self.epochs: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        seconds = round(time.monotonic() - self._began, 3)
        kept = [row for row in self.epochs or self._earlier() if row["epoch"] <= epoch]
        self.epochs = [*kept, {"epoch": epoch + 1, **metrics, "seconds": seconds}]
        for path in self._paths:
            write_json(path, {"epochs": self.epochs})

    def _earlier(self):
        if not tf.io.gfile.exists(self._paths[0]):
            return []
        with tf.io.gfile.GFile(self._paths[0]) as file:
            return json.load(file)["epochs"]


def write_json(path: str, content: dict) -> None:
    """Writes a JSON file whole or not at all, on any file system TensorFlow knows."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path + ".tmp", "w") as file:
        json.dump(content, file, indent=1)
    tf.io.gfile.rename(path + ".tmp", path, overwrite=True)
