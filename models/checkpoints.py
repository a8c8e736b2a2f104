"""What a killed training leaves behind, and how the next one goes on from there."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import tf_keras

from models import files
from models.options import Options

if TYPE_CHECKING:
    from tfx.components import FnArgs

_IDENTITY_FILE = "training.json"
_LAST_FILE = "last.npz"
_BEST_FILE = "best.npz"


# Settings that change nothing about the weights.
_OF_NO_EFFECT = ("cache", "cluster_timeout", "collective", "memory_growth", "steps_per_execution")


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
        "weights": config.provenance.get("weights_digest"),
        "trainer": {name: trainer[name] for name in trainer if name not in _OF_NO_EFFECT},
        "data": [list(fn_args.train_files), list(fn_args.eval_files), fn_args.transform_output],
        "steps": [fn_args.train_steps, fn_args.eval_steps, batch_size],
    }
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


def default_folder(model_run_dir: str, identity: str) -> str:
    """Where checkpoints go by default: beside `model_run_dir`, which differs in every attempt."""
    return f"{model_run_dir.rstrip('/').rpartition('/')[0]}/checkpoints-{identity}"


class Checkpoints(tf_keras.callbacks.Callback):
    """Saves model, optimizer and epoch at the ends of epochs, and restores the last ones.

    The file is written while the next epoch trains: an epoch waits at most for the file of the one
    before it. A callback for every worker, because reading the weights takes all of them; only the
    chief writes.

    Args:
        folder: where the checkpoint is kept, on storage that every worker reaches; that of another
            training is removed.
        identity: see `identity`.
        is_chief: whether this process is the one that writes `folder`.
        interval: seconds after a checkpoint in which epochs are passed over; 0 where several
            processes train, which would not agree on the time.
    """

    def __init__(self, folder: str, identity: str, is_chief: bool, interval: float = 0.0):
        super().__init__()
        self.folder = folder
        self._interval, self._saved = interval, -math.inf
        self._is_chief = is_chief
        self._identity = {"training": identity}
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future | None = None
        if is_chief and files.read_json(f"{folder}/{_IDENTITY_FILE}") != self._identity:
            files.remove(folder)
            files.write_json(f"{folder}/{_IDENTITY_FILE}", self._identity)

    def restore(self, model: tf_keras.Model) -> int:
        """Brings a compiled model to where the last training ended; the number of epochs done."""
        strategy = model.distribute_strategy
        with strategy.scope():
            model.optimizer.build(model.trainable_variables)
        if files.read_json(f"{self.folder}/{_IDENTITY_FILE}") != self._identity:
            return 0  # The chief is about to clear the folder.
        content = files.read(f"{self.folder}/{_LAST_FILE}")
        if content is None:
            return 0
        arrays = _unpack(content)
        with strategy.scope():
            for variable, value in zip(_state(model), arrays[1:], strict=True):
                variable.assign(value)
        return int(arrays[0])

    def on_epoch_end(self, epoch, logs=None):
        """Saves, unless the last checkpoint is but seconds old."""
        if time.monotonic() - self._saved < self._interval:
            return
        self._saved = time.monotonic()
        arrays = [np.asarray(epoch + 1), *(variable.numpy() for variable in _state(self.model))]
        if self._is_chief:
            self._wait()
            path = f"{self.folder}/{_LAST_FILE}"
            self._written = self._writer.submit(lambda: files.write(path, _pack(arrays)))

    def on_train_end(self, logs=None):
        """Waits until the last checkpoint is written."""
        self._wait()

    def remove(self) -> None:
        """Removes the folder; call on the chief once the model is exported, not before."""
        files.remove(self.folder)

    def _wait(self) -> None:
        if self._written:
            self._written.result()


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
        self.best_weights = _unpack(content)
        self.wait = self._since_best()
        self.best_epoch = len(self._losses) - 1 - self.wait
        self.best = self._losses[self.best_epoch]

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the weights of a new best epoch."""
        before = self.best_weights
        super().on_epoch_end(epoch, logs)
        if self._is_chief and self.best_weights is not before:
            files.write(self._path, _pack(self.best_weights))


def _state(model: tf_keras.Model) -> list:
    """All that a training changes, in an order that a rebuilt model has too."""
    return [*model.variables, *model.optimizer.variables]


def _pack(arrays: Sequence[np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez(content, **{f"{i:05d}": array for i, array in enumerate(arrays)})
    return content.getvalue()


def _unpack(content: bytes) -> list[np.ndarray]:
    with np.load(io.BytesIO(content)) as arrays:
        return [arrays[name] for name in sorted(arrays.files)]
