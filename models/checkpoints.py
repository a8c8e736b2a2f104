"""Checkpoints of a training, and early stopping that resumes from them."""

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
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tf_keras
from numpy.typing import NDArray

from models import files
from models.options import Options
from models.progress import HISTORY_FILE
from models.registry import TrainingSettings

if TYPE_CHECKING:
    import tensorflow as tf
    from tfx.components import FnArgs

_log = logging.getLogger("pawprint")
_IDENTITY_FILE = "training.json"
_LAST_FILE = "last.npz"
_FILES = (_IDENTITY_FILE, _LAST_FILE, HISTORY_FILE)
_STATE, _BEST = "state", "best"

# Settings that do not change the weights.
_NOT_IN_IDENTITY = (
    "cache",
    "cluster_timeout",
    "collective",
    "features_limit_mb",
    "memory_growth",
    "steps_per_execution",
)


class _Position(NamedTuple):
    """How far a training has come; the field names are stored in the checkpoint."""

    phase: str
    epoch: int
    epochs: int


def identity(
    config: Options, fn_args: FnArgs, own: Sequence[TrainingSettings], replicas: int
) -> str:
    """Returns a digest of everything that determines the weights of a training.

    A training resumes only from checkpoints of the same identity.

    Args:
        config: all settings.
        fn_args: TFX's arguments.
        own: the architecture's default settings of each phase.
        replicas: number of replicas in sync.

    Returns:
        16 hexadecimal digits.
    """
    trainer = dataclasses.asdict(config.trainer)
    same = {
        "code": config.code,
        "labels": config.labels,
        "image_size": config.image_size,
        "model": dataclasses.asdict(config.model),
        "weights": config.provenance.get("weights_digest"),
        "trainer": {name: trainer[name] for name in trainer if name not in _NOT_IN_IDENTITY},
        "training": list(map(dataclasses.asdict, own)),
        "data": [list(fn_args.train_files), list(fn_args.eval_files), fn_args.transform_output],
        "steps": [fn_args.train_steps, fn_args.eval_steps, replicas],
    }
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


def default_folder(model_run_dir: str, identity: str) -> str:
    """Returns the default folder: next to `model_run_dir`, which differs in every attempt."""
    return f"{model_run_dir.rstrip('/').rpartition('/')[0]}/checkpoints-{identity}"


class Checkpoints(tf_keras.callbacks.Callback):
    """Saves the model, the optimizer and the epoch after each epoch, and restores them.

    Writes the file while the next epoch trains; at the end of an epoch it waits for the file of the
    epoch before. Every process of a cluster needs this callback, because reading the weights is a
    collective operation. Only the chief writes.

    Args:
        folder: folder of the checkpoint, on storage that all processes share. A checkpoint of
            another training is removed.
        identity: see `identity`.
        is_chief: whether this process writes to `folder`.
        interval: minimal number of seconds between two checkpoints. 0 where several processes
            train, because their clocks differ.

    Attributes:
        phase: name of the phase that an earlier process reached; empty without a checkpoint.
        epoch: number of epochs that it completed, over all phases.
        epochs: number of epochs of that phase.
        best: weights of the best epoch. `EarlyStopping` sets them, so that they are saved and
            restored together with the last ones; empty without it.
    """

    def __init__(self, folder: str, identity: str, is_chief: bool, interval: float = 0.0):
        super().__init__()
        self.folder = folder
        self.phase, self.epoch, self.epochs = "", 0, 0
        self.best: list[NDArray[Any]] = []
        self._found: dict[str, list[NDArray[Any]]] = {}
        self._interval, self._saved = interval, -math.inf
        self._is_chief = is_chief
        self._identity = {"training": identity}
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[None] | None = None
        if is_chief and not self.exists():
            if files.read(f"{folder}/{_LAST_FILE}"):
                cause = "the checkpoint is of other settings, data or code"
                _log.warning("training starts afresh in %s: %s", folder, cause)
            self.remove()
            files.write_json(f"{folder}/{_IDENTITY_FILE}", self._identity)
        if self.exists():  # If not, the chief is about to clear the folder.
            self._read()

    def exists(self) -> bool:
        """Whether this process sees a folder of this training."""
        try:
            return bool(files.read_json(f"{self.folder}/{_IDENTITY_FILE}") == self._identity)
        except ValueError:
            return False

    def fits(self, model: tf_keras.Model) -> bool:
        """Whether the checkpoint holds variables of this model's shapes."""
        shapes = [tuple(variable.shape) for variable in model.variables]
        return shapes == [value.shape for value in self._found.get(_STATE, [])[: len(shapes)]]

    def restore(self, model: tf_keras.Model, phase: str = "", epochs: int = 0) -> int:
        """Restores a compiled model and its optimizer.

        Ignores a checkpoint of another model, with a warning.

        Args:
            model: the model that is trained in this phase.
            phase: name of the phase.
            epochs: number of epochs of the phase.

        Returns:
            Number of completed epochs, over all phases; 0 without a checkpoint of this phase.
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
            cause = "the shapes of its variables differ from this model's"
            _log.warning("training starts afresh: cannot restore %s (%s)", path, cause)
            return 0
        with strategy.scope():
            for variable, value in zip(state, found[_STATE], strict=True):
                variable.assign(value)
        self.best = found[_BEST]
        return self.epoch

    def _read(self) -> None:
        """Reads the checkpoint; ignores a damaged one, with a warning."""
        path = f"{self.folder}/{_LAST_FILE}"
        content = files.read(path)
        if content is None:
            return
        try:
            (self.phase, self.epoch, self.epochs), self._found = _unpack(content)
        # RuntimeError: a damaged header may name an encryption or a compression.
        except (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            _log.warning("training starts afresh: cannot restore %s (%s)", path, error)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves a checkpoint, unless the last one is less than `interval` seconds old."""
        if time.monotonic() - self._saved < self._interval:
            return
        self._saved = time.monotonic()
        state = [variable.numpy() for variable in _state(self.model)]
        groups = {_STATE: state, _BEST: self.best}
        position = _Position(self.phase, epoch + 1, self.epochs)
        if self._is_chief:
            self._wait()
            path = f"{self.folder}/{_LAST_FILE}"
            self._written = self._writer.submit(lambda: files.write(path, _pack(position, groups)))

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Waits until the last checkpoint is written."""
        self._wait()

    def remove(self) -> None:
        """Removes the checkpoint; call on the chief after the model is exported."""
        files.remove(self.folder, _FILES)

    def _wait(self) -> None:
        if self._written:
            self._written.result()


class EarlyStopping(tf_keras.callbacks.EarlyStopping):
    """Ends training when `val_loss` stops falling and restores the best weights.

    Unlike Keras' callback it continues correctly after the process is killed and restarted.

    Args:
        patience: number of epochs without improvement after which training ends.
        backup: stores the best weights. It must come after this callback.
        losses: `val_loss` of the epochs that earlier processes completed. Where the weights at the
            start of the phase count as an epoch, their loss comes first.
    """

    def __init__(self, patience: int, backup: Checkpoints, losses: Sequence[float] = ()):
        super().__init__("val_loss", patience=patience, restore_best_weights=True)
        self._backup, self._losses = backup, list(losses)

    @property
    def is_over(self) -> bool:
        """Whether training already ended in an earlier process."""
        return bool(self._losses) and self._since_best() >= self.patience

    def _since_best(self) -> int:
        finite = [loss for loss in self._losses if math.isfinite(loss)]
        # Keras never takes a loss of NaN for the best.
        best = self._losses.index(min(finite)) + 1 if finite else 0
        return len(self._losses) - best

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Restores the best epoch of the earlier processes."""
        super().on_train_begin(logs)
        if not self._losses:
            return
        self.best_weights = self._backup.best or self.model.get_weights()
        self.wait = self._since_best()
        if self.wait < len(self._losses):
            self.best_epoch = len(self._losses) - 1 - self.wait
            self.best = self._losses[self.best_epoch]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Passes the weights of the best epoch to `backup`."""
        super().on_epoch_end(epoch, logs)
        self._backup.best = self.best_weights or []


def _state(model: tf_keras.Model) -> list[tf.Variable]:
    """Returns all variables that training changes, in the same order for a rebuilt model."""
    optimizer = model.optimizer
    found = [*model.variables, *optimizer.variables]
    if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
        # The scale itself is not public as a variable.
        found += optimizer._loss_scale._weights.values()
    return found


def _pack(position: _Position, groups: Mapping[str, Sequence[NDArray[Any]]]) -> bytes:
    content = io.BytesIO()
    arrays: dict[str, Any] = position._asdict()
    arrays |= {f"{name}-{i:05d}": a for name, group in groups.items() for i, a in enumerate(group)}
    np.savez(content, **arrays)
    return content.getvalue()


def _unpack(content: bytes) -> tuple[_Position, dict[str, list[NDArray[Any]]]]:
    with np.load(io.BytesIO(content)) as arrays:
        groups = {
            group: [arrays[name] for name in sorted(arrays.files) if name.startswith(f"{group}-")]
            for group in (_STATE, _BEST)
        }
        return _Position(*(arrays[name].item() for name in _Position._fields)), groups
