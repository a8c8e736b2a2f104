"""What a killed training leaves behind, and how the next one goes on from there."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
import math
import time
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import tf_keras

from models import files
from models.options import Options
from models.progress import HISTORY_FILE
from models.registry import Training

if TYPE_CHECKING:
    from tfx.components import FnArgs

_log = logging.getLogger("pawprint")
_IDENTITY_FILE = "training.json"
_LAST_FILE = "last.npz"
_FILES = (_IDENTITY_FILE, _LAST_FILE, HISTORY_FILE)
_STATE, _BEST = "state", "best"
_PLACE = ("phase", "epoch", "epochs")

# Settings that change nothing about the weights.
_OF_NO_EFFECT = (
    "cache",
    "cluster_timeout",
    "collective",
    "features_limit_mb",
    "memory_growth",
    "steps_per_execution",
)


def identity(config: Options, fn_args: FnArgs, own: Sequence[Training], replicas: int) -> str:
    """A digest of what a training must share with another to resume from its checkpoints.

    Args:
        config: all settings.
        fn_args: TFX's arguments, for the paths of the data.
        own: the architecture's own settings of each phase, where the user's are None.
        replicas: replicas in sync.
    """
    trainer = dataclasses.asdict(config.trainer)
    same = {
        "code": config.code,
        "labels": config.labels,
        "image_size": config.image_size,
        "model": dataclasses.asdict(config.model),
        "weights": config.provenance.get("weights_digest"),
        "trainer": {name: trainer[name] for name in trainer if name not in _OF_NO_EFFECT},
        "training": list(map(dataclasses.asdict, own)),
        "data": [list(fn_args.train_files), list(fn_args.eval_files), fn_args.transform_output],
        "steps": [fn_args.train_steps, fn_args.eval_steps, replicas],
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

    Attributes:
        phase: name of the phase that an earlier process had reached; empty where there was none.
        epoch: epochs that it had done, over all phases.
        epochs: epochs of that phase.
        best: weights of the best epoch so far, which `EarlyStopping` keeps here, so that they are
            saved and restored together with the last ones; empty without it.
    """

    def __init__(self, folder: str, identity: str, is_chief: bool, interval: float = 0.0):
        super().__init__()
        self.folder = folder
        self.phase, self.epoch, self.epochs = "", 0, 0
        self.best: list[np.ndarray] = []
        self._found: dict[str, list[np.ndarray]] = {}
        self._interval, self._saved = interval, -math.inf
        self._is_chief = is_chief
        self._identity = {"training": identity}
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future | None = None
        if is_chief and not self.is_there():
            if files.read(f"{folder}/{_LAST_FILE}"):
                cause = "its checkpoint is of other settings, data or code"
                _log.warning("training starts afresh in %s: %s", folder, cause)
            self.remove()
            files.write_json(f"{folder}/{_IDENTITY_FILE}", self._identity)
        if self.is_there():  # Else the chief is about to clear the folder.
            self._find()

    def is_there(self) -> bool:
        """Whether the folder, as this process sees it, is that of this training."""
        try:
            return files.read_json(f"{self.folder}/{_IDENTITY_FILE}") == self._identity
        except ValueError:
            return False

    def fits(self, model: tf_keras.Model) -> bool:
        """Whether what an earlier process left are the variables of this model."""
        shapes = [tuple(variable.shape) for variable in model.variables]
        return shapes == [value.shape for value in self._found.get(_STATE, [])[: len(shapes)]]

    def restore(self, model: tf_keras.Model, phase: str = "", epochs: int = 0) -> int:
        """Brings a compiled model to where an earlier process left it.

        A checkpoint that is of another model is left out with a warning.

        Args:
            model: what is trained in this phase.
            phase: name of the phase.
            epochs: epochs of the phase.

        Returns:
            Epochs done, over all phases; 0 where there is no checkpoint of this phase.
        """
        strategy = model.distribute_strategy
        with strategy.scope():
            model.optimizer.build(model.trainable_variables)
        found, reached = self._found, self.phase
        self._found, self.phase, self.epochs, self.best = {}, phase, epochs, []
        self._saved = -math.inf
        if not found or reached != phase:
            return 0
        state = _state(model)
        if [tuple(variable.shape) for variable in state] != [v.shape for v in found[_STATE]]:
            path = f"{self.folder}/{_LAST_FILE}"
            cause = "its variables are not those of this model"
            _log.warning("training starts afresh: %s is no checkpoint (%s)", path, cause)
            return 0
        with strategy.scope():
            for variable, value in zip(state, found[_STATE], strict=True):
                variable.assign(value)
        self.best = found[_BEST]
        return self.epoch

    def _find(self) -> None:
        """Reads what an earlier process left; what cannot be read is left out with a warning."""
        path = f"{self.folder}/{_LAST_FILE}"
        content = files.read(path)
        if content is None:
            return
        try:
            (self.phase, self.epoch, self.epochs), self._found = _unpack(content)
        # A damaged header may name an encryption or a compression: RuntimeError.
        except (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            _log.warning("training starts afresh: %s is no checkpoint (%s)", path, error)

    def on_epoch_end(self, epoch, logs=None):
        """Saves, unless the last checkpoint is but seconds old."""
        if time.monotonic() - self._saved < self._interval:
            return
        self._saved = time.monotonic()
        state = [variable.numpy() for variable in _state(self.model)]
        groups, place = {_STATE: state, _BEST: self.best}, (self.phase, epoch + 1, self.epochs)
        if self._is_chief:
            self._wait()
            path = f"{self.folder}/{_LAST_FILE}"
            self._written = self._writer.submit(lambda: files.write(path, _pack(place, groups)))

    def on_train_end(self, logs=None):
        """Waits until the last checkpoint is written."""
        self._wait()

    def remove(self) -> None:
        """Removes what is kept; call on the chief once the model is exported, not before."""
        files.remove(self.folder, _FILES)

    def _wait(self) -> None:
        if self._written:
            self._written.result()


class EarlyStopping(tf_keras.callbacks.EarlyStopping):
    """Ends a training when `val_loss` stops falling and takes the best weights; survives a kill.

    Args:
        patience: epochs without improvement.
        backup: keeps the best weights; a later callback than this one.
        losses: `val_loss` of the epochs done before, and where a model of an earlier phase is to
            be beaten, its loss before them.
    """

    def __init__(self, patience: int, backup: Checkpoints, losses: Sequence[float] = ()):
        super().__init__("val_loss", patience=patience, restore_best_weights=True)
        self._backup, self._losses = backup, list(losses)

    @property
    def is_over(self) -> bool:
        """Whether the earlier epochs already ended the training."""
        return bool(self._losses) and self._since_best() >= self.patience

    def _since_best(self) -> int:
        finite = [loss for loss in self._losses if math.isfinite(loss)]
        # To Keras a loss that is no number is never the best.
        best = self._losses.index(min(finite)) + 1 if finite else 0
        return len(self._losses) - best

    def on_train_begin(self, logs=None):
        """Goes back to the best epoch so far."""
        super().on_train_begin(logs)
        if not self._losses:
            return
        self.best_weights = self._backup.best or self.model.get_weights()
        self.wait = self._since_best()
        if self.wait < len(self._losses):
            self.best_epoch = len(self._losses) - 1 - self.wait
            self.best = self._losses[self.best_epoch]

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the weights of a new best epoch."""
        super().on_epoch_end(epoch, logs)
        self._backup.best = self.best_weights or []


def _state(model: tf_keras.Model) -> list:
    """All that a training changes, in an order that a rebuilt model has too."""
    optimizer = model.optimizer
    found = [*model.variables, *optimizer.variables]
    if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
        # Its counter is public, its scale only as a number.
        found += optimizer._loss_scale._weights.values()
    return found


def _pack(place: tuple[str, int, int], groups: Mapping[str, Sequence[np.ndarray]]) -> bytes:
    content = io.BytesIO()
    arrays = {f"{name}-{i:05d}": a for name, group in groups.items() for i, a in enumerate(group)}
    np.savez(content, **dict(zip(_PLACE, place, strict=True)), **arrays)
    return content.getvalue()


def _unpack(content: bytes) -> tuple[tuple[str, int, int], dict[str, list[np.ndarray]]]:
    with np.load(io.BytesIO(content)) as arrays:
        groups = {
            group: [arrays[name] for name in sorted(arrays.files) if name.startswith(f"{group}-")]
            for group in (_STATE, _BEST)
        }
        return tuple(arrays[name].item() for name in _PLACE), groups
