"""Training seen from outside: the terminal's progress bar and history.json."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import tf_keras

from models import files

if TYPE_CHECKING:
    from models.phases import Phase

HISTORY_FILE = "history.json"
_progress = logging.getLogger("pawprint.progress")
_SECONDS_BETWEEN = 0.5


class ProgressLogger(tf_keras.callbacks.Callback):
    """Reports done and total photos to the `pawprint.progress` logger, twice a second at most.

    Args:
        phase: the part of the training.
        epochs: epochs at its end, those of earlier parts included; None takes the phase's.
    """

    def __init__(self, phase: Phase, epochs: int | None = None):
        super().__init__()
        self._name, self._first = phase.name, phase.first_epoch
        self._epochs = (phase.last_epoch if epochs is None else epochs) - self._first
        self._steps, self._batch = phase.steps, phase.batch_size
        self._epoch, self._done, self._reported = 0, 0, 0.0
        self._supports_tf_logs = True  # The metrics of a batch need not be fetched for it.

    def on_epoch_begin(self, epoch, logs=None):
        """Counts from the epoch's beginning, which is not the first in a resumed training."""
        self._epoch = epoch - self._first + 1
        self._done = (self._epoch - 1) * self._steps

    def on_train_batch_end(self, batch, logs=None):
        """Counts the steps up to `batch`, the last of those that one call has taken."""
        self._done = (self._epoch - 1) * self._steps + batch + 1
        if time.monotonic() - self._reported >= _SECONDS_BETWEEN:
            self._report()

    def on_epoch_end(self, epoch, logs=None):
        """Reports the epoch's score."""
        self._report(logs)

    def on_train_end(self, logs=None):
        """Reports the end."""
        self._report(logs, finished=True)

    def _report(self, logs=None, finished=False):
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
    """Keeps every metric of every epoch, and the epoch's seconds, in `history.json`.

    Args:
        folder: where to write it after each epoch; an earlier training's history there goes on.
        done: epochs that the earlier training completed.
        writes: whether this process is the one that writes the file.

    Attributes:
        phase: name of the part of the training that runs.
        epochs: a row an epoch: `epoch`, `phase`, every metric, `seconds`.
    """

    def __init__(self, folder: str, done: int = 0, writes: bool = True):
        super().__init__()
        self._path, self._writes = f"{folder}/{HISTORY_FILE}", writes
        earlier = (files.read_json(self._path) or {}).get("epochs", []) if done else []
        self.phase = ""
        self.epochs: list[dict[str, float | str]] = [row for row in earlier if row["epoch"] <= done]

    def forget(self, after: int) -> None:
        """Leaves out the epochs after that one, whose weights could not be restored."""
        self.epochs = [row for row in self.epochs if row["epoch"] <= after]

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the epoch's clock."""
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Adds the epoch's row."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        seconds = round(time.monotonic() - self._began, 3)
        row = {"epoch": epoch + 1, "phase": self.phase, **metrics, "seconds": seconds}
        self.epochs.append(row)
        if self._writes:
            files.write_json(self._path, {"epochs": self.epochs})

    def save(self, folder: str) -> None:
        """Writes the whole history into another folder."""
        files.write_json(f"{folder}/{HISTORY_FILE}", {"epochs": self.epochs})
