"""Finds architectures by name, without importing TensorFlow until one is built."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from types import ModuleType

from models import architectures


@dataclasses.dataclass(frozen=True)
class Training:
    """The training settings that suit an architecture, used where the config leaves them open."""

    epochs: int
    optimizer: str
    """`rmsprop` or `adamw`."""
    learning_rate: float
    schedule: str = "constant"
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    """Decoupled weight decay, for `adamw`."""


def names() -> tuple[str, ...]:
    """Names of all architectures, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(architectures.__path__)))


def find(name: str) -> ModuleType:
    """The module of an architecture: its `TRAINING` and its `build`.

    Raises:
        ValueError: no architecture has that name.
    """
    if name not in names():
        nearest = difflib.get_close_matches(name, names(), 1)
        hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
        raise ValueError(f"Unknown model '{name}'.{hint} Known: {', '.join(names())}.")
    return importlib.import_module(f"{architectures.__name__}.{name}")
