"""Finds architectures by name, without importing TensorFlow until one is built."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from types import ModuleType

from models import architectures
from models.options import SCHEDULES, unknown

OPTIMIZERS = ("rmsprop", "adamw")


@dataclasses.dataclass(frozen=True)
class Training:
    """The training settings that suit an architecture, used where the config leaves them open."""

    epochs: int
    optimizer: str
    """One of `OPTIMIZERS`."""
    learning_rate: float
    schedule: str = "constant"
    """One of `models.options.SCHEDULES`."""
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    """Decoupled weight decay, for `adamw`."""

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            raise unknown(f"optimizer '{self.optimizer}'", self.optimizer, OPTIMIZERS)
        if self.schedule not in SCHEDULES:
            raise unknown(f"schedule '{self.schedule}'", self.schedule, SCHEDULES)


def names() -> tuple[str, ...]:
    """Names of all architectures, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(architectures.__path__)))


def find(name: str) -> ModuleType:
    """The module of an architecture: its `TRAINING` and its `build`.

    Raises:
        ValueError: no architecture has that name.
    """
    if name not in names():
        raise unknown(f"model '{name}'", name, names())
    return importlib.import_module(f"{architectures.__name__}.{name}")
