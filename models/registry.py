"""Finds architectures by name, without importing TensorFlow until one is built.

What a module in `models/architectures/` declares is documented there.
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
class Training:
    """The training settings that suit an architecture, used where the config leaves them open."""

    epochs: int
    """Passes over the training photos."""
    optimizer: str
    """One of `OPTIMIZERS`."""
    learning_rate: float
    schedule: str = "constant"
    """One of `models.options.SCHEDULES`."""
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    """Decoupled weight decay, for `adamw`."""
    batch_size: int = 16
    """Photos a step and replica."""
    penalty: float = 0.0
    """Of a pretrained network's head: factor on half the square of its weights, over the number of
    training photos, in the loss."""
    least_steps: int = 1
    """Steps an epoch where a pass over the photos takes fewer."""

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            raise unknown(f"optimizer '{self.optimizer}'", self.optimizer, OPTIMIZERS)
        if self.schedule not in SCHEDULES:
            raise unknown(f"schedule '{self.schedule}'", self.schedule, SCHEDULES)


def names() -> tuple[str, ...]:
    """Names of all architectures, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(architectures.__path__)))


def find(name: str) -> ModuleType:
    """The module of an architecture: see `models.architectures`.

    Raises:
        ValueError: no architecture has that name, or it does not declare what it has to.
    """
    if name not in names():
        raise unknown(f"model '{name}'", name, names())
    module = importlib.import_module(f"{architectures.__name__}.{name}")
    if missing := [each for each in _DECLARED if not hasattr(module, each)]:
        raise ValueError(f"{module.__file__} lacks {', '.join(missing)}; see models/architectures/")
    return module


def find_weights(name: str, arguments: Mapping[str, Any]) -> Weights | None:
    """The pretrained weights of an architecture with these arguments; None where it has none.

    Raises:
        ValueError: there are no such weights on this machine, or they are altered.
    """
    find_them = getattr(find(name), "find_weights", None)
    return find_them(**arguments) if find_them else None
