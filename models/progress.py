"""Keras callbacks that report progress and write `history.json`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import tf_keras

from models import files

if TYPE_CHECKING:
    from models.phases import Phase

HISTORY_FILE = "history.json"
EpochRow: TypeAlias = dict[str, Any]
"""An epoch in `history.json`: `epoch` (from 1), `phase`, every metric, `seconds`."""
_Logs: TypeAlias = dict[str, Any] | None
_progress = logging.getLogger("pawprint.progress")
_SECONDS_BETWEEN = 0.5


class ProgressLogger(tf_keras.callbacks.Callback):
    """Logs the number of processed and total images to `pawprint.progress`, every 0.5 s at most.

    Args:
        phase: the phase of the training.
        epochs: number of the last epoch, counted over all phases; None takes the phase's.
    """

    def __init__(self, phase: Phase, epochs: int | None = None):
        super().__init__()
        self._name, self._first = phase.name, phase.first_epoch
        self._epochs = (phase.last_epoch if epochs is None else epochs) - self._first
        self._steps, self._batch = phase.steps, phase.batch_size
        self._epoch, self._done, self._reported = 0, 0, 0.0
        self._supports_tf_logs = True  # Spares Keras fetching the metrics of each batch.

    def on_epoch_begin(self, epoch: int, logs: _Logs = None) -> None:
        """Sets the step count; a resumed training does not begin with the first epoch."""
        self._epoch = epoch - self._first + 1
        self._done = (self._epoch - 1) * self._steps

    def on_train_batch_end(self, batch: int, logs: _Logs = None) -> None:
        """Updates the step count; `batch` is the last step of a call of the training function."""
        self._done = (self._epoch - 1) * self._steps + batch + 1
        if time.monotonic() - self._reported >= _SECONDS_BETWEEN:
            self._report()

    def on_epoch_end(self, epoch: int, logs: _Logs = None) -> None:
        """Reports the validation accuracy."""
        self._report(logs)

    def on_train_end(self, logs: _Logs = None) -> None:
        """Reports the end."""
        self._report(logs, finished=True)

    def _report(self, logs: _Logs = None, finished: bool = False) -> None:
        self._reported = time.monotonic()
        accuracy = (logs or {}).get("val_accuracy")
        score = "" if accuracy is None else f", validation accuracy {accuracy:.3f}"
        _progress.info(
            f"{self._name}: epoch {self._epoch} of {self._epochs}{score}",
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
    """Writes every metric and the duration of every epoch to `history.json`.

    Args:
        folder: folder of `history.json`, written after each epoch. The rows of an earlier process
            of this training are kept.
        done: number of epochs that the earlier process completed.
        writes: whether this process writes the file.

    Attributes:
        phase: name of the current phase.
        epochs: one row per epoch.
    """

    def __init__(self, folder: str, done: int = 0, writes: bool = True):
        super().__init__()
        self._path, self._writes = f"{folder}/{HISTORY_FILE}", writes
        earlier = (files.read_json(self._path) or {}).get("epochs", []) if done else []
        self.phase = ""
        self.epochs: list[EpochRow] = [row for row in earlier if row["epoch"] <= done]

    def discard(self, after: int) -> None:
        """Removes the rows after an epoch: their weights could not be restored."""
        self.epochs = [row for row in self.epochs if row["epoch"] <= after]

    def on_epoch_begin(self, epoch: int, logs: _Logs = None) -> None:
        """Starts timing the epoch."""
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: _Logs = None) -> None:
        """Appends the epoch's row."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        seconds = round(time.monotonic() - self._began, 3)
        row = {"epoch": epoch + 1, "phase": self.phase, **metrics, "seconds": seconds}
        self.epochs.append(row)
        if self._writes:
            files.write_json(self._path, {"epochs": self.epochs})

    def save(self, folder: str) -> None:
        """Writes `history.json` to another folder."""
        files.write_json(f"{folder}/{HISTORY_FILE}", {"epochs": self.epochs})
