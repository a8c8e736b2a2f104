"""What a killed training leaves behind, and how the next one goes on from there."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tempfile
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
import tf_keras

from models import files
from models.options import Options

if TYPE_CHECKING:
    from tfx.components import FnArgs

_IDENTITY_FILE = "training.json"
_BEST_FILE = "best.npz"


# Settings that change nothing about the weights.
_OF_NO_EFFECT = ("cache", "cluster_timeout", "collective", "memory_growth")


def identity(config: Options, fn_args: FnArgs, batch_size: int) -> str:
    """A digest of what two trainings must share for one to go on with the other's checkpoints.

    Args:
        config: all settings.
        fn_args: TFX's arguments, for the paths of the data.
        batch_size: examples a step over all replicas.
    """
    trainer = dataclasses.asdict(config.trainer)
    same = {
        "labels": config.labels,
        "image_size": config.image_size,
        "model": dataclasses.asdict(config.model),
        "trainer": {name: trainer[name] for name in trainer if name not in _OF_NO_EFFECT},
        "data": [list(fn_args.train_files), list(fn_args.eval_files), fn_args.transform_output],
        "steps": [fn_args.train_steps, fn_args.eval_steps, batch_size],
    }
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


def default_folder(model_run_dir: str, identity: str) -> str:
    """Where checkpoints go by default: beside `model_run_dir`, which differs in every attempt."""
    return f"{model_run_dir.rstrip('/').rpartition('/')[0]}/checkpoints-{identity}"


class Checkpoints(tf_keras.callbacks.Callback):
    """Saves model, optimizer and epoch after each epoch, and restores the last ones.

    A callback for every worker: reading the weights to be saved takes all of them, though only
    the chief's files are kept.

    Args:
        folder: where the checkpoints are kept, on storage that every worker reaches; those of
            another training are removed.
        identity: see `identity`.
        is_chief: whether this process is the one that writes `folder`.
    """

    def __init__(self, folder: str, identity: str, is_chief: bool):
        super().__init__()
        self.folder = folder
        self._is_chief = is_chief
        self._identity = {"training": identity}
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        if is_chief and files.read_json(f"{folder}/{_IDENTITY_FILE}") != self._identity:
            files.remove(folder)
            files.write_json(f"{folder}/{_IDENTITY_FILE}", self._identity)

    def restore(self, model: tf_keras.Model) -> int:
        """Brings a compiled model to where the last training ended; the number of epochs done."""
        checkpoint = tf.train.Checkpoint(model=model, epoch=self._epoch)
        kept = f"{self.folder}/weights"
        self._scratch = None if self._is_chief else tempfile.TemporaryDirectory()
        folder = kept if self._is_chief else self._scratch.name
        self._manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1)
        if files.read_json(f"{self.folder}/{_IDENTITY_FILE}") != self._identity:
            return 0  # The chief is about to clear the folder.
        if latest := tf.train.latest_checkpoint(kept):
            checkpoint.restore(latest)
        return int(self._epoch.numpy())

    def on_epoch_end(self, epoch, logs=None):
        """Saves."""
        self._epoch.assign(epoch + 1)
        self._manager.save()

    def on_train_end(self, logs=None):
        """Removes what this process wrote for nobody."""
        if self._scratch:
            self._scratch.cleanup()

    def remove(self) -> None:
        """Removes the folder; call on the chief once the model is exported, not before."""
        files.remove(self.folder)


class EarlyStopping(tf_keras.callbacks.EarlyStopping):
    """Ends a training when `val_loss` stops falling and takes the best weights; survives a kill.

    Args:
        patience: epochs without improvement.
        folder: where the best weights are kept.
        is_chief: whether this process writes them.
        losses: `val_loss` of the epochs that an earlier process did.
    """

    def __init__(self, patience: int, folder: str, is_chief: bool, losses: list[float]):
        super().__init__("val_loss", patience=patience, restore_best_weights=True)
        self._path, self._is_chief, self._losses = f"{folder}/{_BEST_FILE}", is_chief, losses

    @property
    def is_over(self) -> bool:
        """Whether the earlier epochs already ended the training."""
        return bool(self._losses) and self._since_best() >= self.patience

    def _since_best(self) -> int:
        return len(self._losses) - 1 - int(np.nanargmin(self._losses))

    def on_train_begin(self, logs=None):
        """Goes back to the best epoch so far."""
        super().on_train_begin(logs)
        content = files.read(self._path) if self._losses else None
        if content is None:
            return
        with np.load(io.BytesIO(content)) as arrays:
            self.best_weights = [arrays[name] for name in sorted(arrays.files)]
        self.wait = self._since_best()
        self.best_epoch = len(self._losses) - 1 - self.wait
        self.best = self._losses[self.best_epoch]

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the weights of a new best epoch."""
        before = self.best_weights
        super().on_epoch_end(epoch, logs)
        if self._is_chief and self.best_weights is not before:
            content = io.BytesIO()
            arrays = {f"{i:05d}": array for i, array in enumerate(self.best_weights)}
            np.savez(content, **arrays)
            files.write(self._path, content.getvalue())
