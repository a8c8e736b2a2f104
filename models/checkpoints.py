"""What a killed training leaves behind, and how the next one goes on from there."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
from typing import Any

import numpy as np
import tf_keras

from models import files, progress

_log = logging.getLogger("pawprint")
_IDENTITY_FILE = "training.json"
_BEST_FILE = "best.npz"


class Checkpoints:
    """The folder of one training's checkpoints, on storage that every worker reaches.

    Args:
        folder: the folder; another training's checkpoints in it are removed.
        identity: all that makes two trainings the same, JSON-serialisable.
        is_chief: whether this process writes it.
    """

    def __init__(self, folder: str, identity: dict[str, Any], is_chief: bool):
        self.folder = folder
        self._is_chief = is_chief
        text = json.dumps(identity, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        path = f"{folder}/{_IDENTITY_FILE}"
        if is_chief and files.read_json(path) != {"training": digest}:
            files.remove(folder)
            files.write_json(path, {"training": digest})

    def history(self) -> list[dict[str, float]]:
        """Metrics of the epochs that are done."""
        return (files.read_json(f"{self.folder}/{progress.HISTORY_FILE}") or {}).get("epochs", [])

    def callbacks(self, early_stopping: int) -> list[tf_keras.callbacks.Callback]:
        """Backup after each epoch, restored at the beginning; and early stopping, if any."""
        # Kept until the model is exported, so that a failure there costs no training.
        backup = tf_keras.callbacks.BackupAndRestore(
            f"{self.folder}/backup", save_freq="epoch", delete_checkpoint=False
        )
        if not early_stopping:
            return [backup]
        return [backup, EarlyStopping(early_stopping, self, self._is_chief)]

    def remove(self) -> None:
        """Removes the folder; call on the chief once the model is exported."""
        files.remove(self.folder)


class EarlyStopping(tf_keras.callbacks.EarlyStopping):
    """Ends a training when `val_loss` stops falling and takes the best weights; survives a kill.

    Args:
        patience: epochs without improvement.
        checkpoints: where the best weights are kept.
        is_chief: whether this process writes them.
    """

    def __init__(self, patience: int, checkpoints: Checkpoints, is_chief: bool):
        super().__init__("val_loss", patience=patience, restore_best_weights=True)
        self._path = f"{checkpoints.folder}/{_BEST_FILE}"
        self._checkpoints, self._is_chief = checkpoints, is_chief

    def on_train_begin(self, logs=None):
        """Goes back to the best epoch so far."""
        super().on_train_begin(logs)
        losses = [row["val_loss"] for row in self._checkpoints.history()]
        content = files.read(self._path)
        if not losses or content is None:
            return
        with np.load(io.BytesIO(content)) as arrays:
            self.best_weights = [arrays[f"{i}"] for i in range(len(arrays.files))]
        self.best_epoch = int(np.argmin([x if math.isfinite(x) else math.inf for x in losses]))
        self.best = losses[self.best_epoch]
        self.wait = len(losses) - 1 - self.best_epoch
        # The last epoch before a kill may have been the one to stop at.
        self.model.stop_training = self.wait >= self.patience

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the weights of a new best epoch."""
        best = self.best_epoch
        super().on_epoch_end(epoch, logs)
        if self._is_chief and self.best_epoch != best:
            content = io.BytesIO()
            np.savez(content, **{f"{i}": array for i, array in enumerate(self.best_weights)})
            files.write(self._path, content.getvalue())
