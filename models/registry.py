"""Finds architectures by name, without importing TensorFlow.

`models.architectures` documents what the module of an architecture declares.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from models import architectures
from models.backbones.package import Weights
from models.options import SCHEDULES, unknown

OPTIMIZERS = ("rmsprop", "adamw", "sgd")
_DECLARED = ("IMAGE_SIZE", "TRAINING", "build")


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training phase; an architecture declares the defaults.

    Example:

    ```python
    from models.registry import TrainingSettings

    TRAINING = TrainingSettings(epochs=20, optimizer="adamw", learning_rate=1e-3)
    ```
    """

    epochs: int
    """Passes over the training images."""
    optimizer: str
    """One of `OPTIMIZERS`."""
    learning_rate: float
    schedule: str = "constant"
    """One of `models.options.SCHEDULES`."""
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    """Decoupled weight decay, for `adamw`."""
    batch_size: int = 16
    """Images per step and replica."""
    penalty: float = 0.0
    """L2 penalty of a pretrained network's head: adds `penalty / (2 * number of training images)`
    times the squared weights to the loss."""
    least_steps: int = 1
    """Minimal number of steps per epoch."""

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown(f"optimizer '{self.optimizer}'", self.optimizer, OPTIMIZERS)
        if self.schedule not in SCHEDULES:
            raise unknown(f"schedule '{self.schedule}'", self.schedule, SCHEDULES)


def names() -> tuple[str, ...]:
    """Returns the names of all architectures, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(architectures.__path__)))


def find(name: str) -> ModuleType:
    """Imports the module of an architecture: see `models.architectures`.

    Raises:
        ValueError: No architecture has that name, or its module lacks a declaration.

    Example:

    ```python
    from models import registry

    architecture = registry.find("pawnet")
    model = architecture.build(image_size=150, num_classes=2)
    ```
    """
    if name not in names():
        raise unknown(f"model '{name}'", name, names())
    module = importlib.import_module(f"{architectures.__name__}.{name}")
    if missing := [each for each in _DECLARED if not hasattr(module, each)]:
        raise ValueError(f"{module.__file__} lacks {', '.join(missing)}; see models/architectures/")
    return module


def find_weights(name: str, arguments: Mapping[str, Any]) -> Weights | None:
    """Finds the pretrained weights of an architecture; None for one without.

    Args:
        name: name of the architecture.
        arguments: arguments of its `build`.

    Raises:
        ValueError: The weights are missing on this machine or do not match their digest.
    """
    find_them = getattr(find(name), "find_weights", None)
    return find_them(**arguments) if find_them else None
