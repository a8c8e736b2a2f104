"""The parts of a training: one, or for a pretrained network its head and then fine-tuning."""

from __future__ import annotations

import dataclasses
import logging
import math

import tensorflow as tf
import tf_keras

from models import input as examples
from models.options import TrainerOptions
from models.registry import Training

_log = logging.getLogger("pawprint")
TRAINING, HEAD, FINE_TUNING = "training", "head", "fine-tuning"
# Forward through all blocks and backward through the upper ones, against forward alone: 37 and 13
# ms of processor time a photo on two cores (`python -m benchmarks.fine_tuning`).
_STEP_AGAINST_FEATURES = 3.0
_TRACING_SECONDS = 15.0


@dataclasses.dataclass(frozen=True)
class Phase:
    """One part of a training, with all defaults filled in."""

    name: str
    """`training`, `head` or `fine-tuning`."""
    model: tf_keras.Model
    """What is fitted: the whole model or its head."""
    settings: Training
    train: examples.Examples
    validation: examples.Examples
    batch_size: int
    """Examples a step over all replicas."""
    steps: int
    """Training steps an epoch."""
    validation_steps: int
    first_epoch: int = 0
    """Epochs of the phases before."""

    @property
    def last_epoch(self) -> int:
        """Epochs of the training at the end of this phase."""
        return self.first_epoch + self.settings.epochs

    @property
    def keeps_best(self) -> bool:
        """Whether the epoch of the lowest validation loss is kept, the one before it included."""
        return self.name == FINE_TUNING


def resolve_settings(options: TrainerOptions, own: Training, fine_tuning: bool = False) -> Training:
    """The settings of a phase: the user's, and the architecture's own where theirs are None."""
    given = {
        "epochs": options.fine_tuning_epochs if fine_tuning else options.epochs,
        "learning_rate": (
            options.fine_tuning_learning_rate if fine_tuning else options.learning_rate
        ),
        "schedule": options.schedule,
        "label_smoothing": options.label_smoothing,
        "batch_size": options.batch_size,
    }
    return dataclasses.replace(own, **{k: v for k, v in given.items() if v is not None})


def steps_an_epoch(settings: Training, photos: int, replicas: int = 1) -> int:
    """Steps in which every photo is met, or more where these are few."""
    return max(settings.least_steps, -(-photos // (settings.batch_size * replicas)))


def preset(options: TrainerOptions) -> str:
    """The preset that holds on this machine."""
    if options.preset:
        return options.preset
    return "best" if tf.config.list_physical_devices("GPU") else "fast"


def fine_tuning_epochs(
    options: TrainerOptions, own: Training, train: int, validation: int, seconds_a_photo: float
) -> int:
    """Passes of fine-tuning, 0 for none; says what they take where time decides.

    Args:
        options: the user's settings.
        own: the architecture's.
        train: training photos of this process.
        validation: validation photos of this process.
        seconds_a_photo: that the backbone takes for features.
    """
    if options.fine_tuning_epochs is not None:
        return options.fine_tuning_epochs
    chosen = preset(options)
    if chosen == "fast":
        return 0
    epoch = seconds_a_photo * (_STEP_AGAINST_FEATURES * train + validation)
    fitting = math.floor((options.fine_tuning_seconds - _TRACING_SECONDS) / epoch)
    epochs = own.epochs if chosen == "best" else max(0, min(own.epochs, fitting))
    if epochs:
        seconds = _TRACING_SECONDS + epochs * epoch
        _log.info("fine-tuning for %d epochs of %d photos, about %.0f s", epochs, train, seconds)
    else:
        _log.info(
            "no fine-tuning: an epoch of %d photos takes about %.0f s, trainer."
            "fine_tuning_seconds allows %d",
            train,
            _TRACING_SECONDS + epoch,
            options.fine_tuning_seconds,
        )
    return epochs
