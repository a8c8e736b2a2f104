"""The phases of a training: `training`, or for a pretrained network `head` and `fine-tuning`."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any

import tensorflow as tf
import tf_keras

from models import input as examples
from models.options import TrainerOptions
from models.registry import TrainingSettings

_log = logging.getLogger("pawprint")
TRAINING, HEAD, FINE_TUNING = "training", "head", "fine-tuning"
# Time of a fine-tuning step relative to extracting the features of the same images: 37 and 13 ms of
# processor time per image on two cores (`python -m benchmarks.fine_tuning`).
_STEP_PER_FEATURES = 3.0
_TRACING_SECONDS = 15.0


@dataclasses.dataclass(frozen=True)
class Phase:
    """One phase of a training, with all defaults filled in."""

    name: str
    """`training`, `head` or `fine-tuning`."""
    model: tf_keras.Model
    """The model that is fitted: the whole one or its head."""
    settings: TrainingSettings
    train: examples.Examples
    validation: examples.Examples
    batch_size: int
    """Examples per step over all replicas."""
    steps: int
    """Training steps per epoch."""
    validation_steps: int
    first_epoch: int = 0
    """Number of epochs of the earlier phases."""

    @property
    def last_epoch(self) -> int:
        """Number of epochs at the end of this phase, over all phases."""
        return self.first_epoch + self.settings.epochs

    @property
    def keeps_best(self) -> bool:
        """Whether the weights with the lowest validation loss are kept.

        The weights at the start of the phase are among the candidates.
        """
        return self.name == FINE_TUNING


def resolve_settings(
    options: TrainerOptions, own: TrainingSettings, fine_tuning: bool = False
) -> TrainingSettings:
    """Returns the settings of a phase: the user's, or the architecture's where those are None.

    Args:
        options: the user's settings.
        own: the architecture's default settings of the phase.
        fine_tuning: whether to take the user's settings of fine-tuning.
    """
    given: dict[str, Any] = {
        "epochs": options.fine_tuning_epochs if fine_tuning else options.epochs,
        "learning_rate": (
            options.fine_tuning_learning_rate if fine_tuning else options.learning_rate
        ),
        "schedule": options.schedule,
        "label_smoothing": options.label_smoothing,
        "batch_size": options.batch_size,
    }
    return dataclasses.replace(own, **{k: v for k, v in given.items() if v is not None})


def steps_per_epoch(settings: TrainingSettings, images: int, replicas: int = 1) -> int:
    """Returns the number of steps in one pass over the images, `least_steps` at least."""
    return max(settings.least_steps, -(-images // (settings.batch_size * replicas)))


def resolve_preset(options: TrainerOptions) -> str:
    """Returns the user's preset, or else this machine's: `best` with a GPU, `fast` without."""
    if options.preset:
        return options.preset
    return "best" if tf.config.list_physical_devices("GPU") else "fast"


def fine_tuning_epochs(
    options: TrainerOptions,
    own: TrainingSettings,
    train: int,
    validation: int,
    seconds_per_image: float,
) -> int:
    """Returns the number of fine-tuning epochs, and logs their estimated duration.

    Args:
        options: the user's settings.
        own: settings of fine-tuning.
        train: number of training images of this process.
        validation: number of validation images of this process.
        seconds_per_image: time that the backbone takes to extract an image's features.

    Returns:
        Number of epochs, 0 to skip fine-tuning.
    """
    if options.fine_tuning_epochs is not None:
        return options.fine_tuning_epochs
    chosen = resolve_preset(options)
    if chosen == "fast":
        return 0
    epoch = seconds_per_image * (_STEP_PER_FEATURES * train + validation)
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
