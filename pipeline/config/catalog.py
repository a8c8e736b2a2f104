"""Regions, machines, accelerators and presets, from `catalog.yaml`."""

import dataclasses
import functools
from pathlib import Path

import yaml


@dataclasses.dataclass(frozen=True)
class Machine:
    """One machine type."""

    cpus: int
    gb: float
    """Memory."""
    takes: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    """How many of each accelerator it can have."""
    needs: bool = False
    """Whether it comes with accelerators only."""
    trains: bool = True
    """Whether custom training has it."""


@dataclasses.dataclass(frozen=True)
class Catalog:
    """What may be asked for."""

    regions: list[str]
    machines: dict[str, Machine]
    presets: dict[str, dict]
    quotas: dict[str, str]


@functools.cache
def catalog() -> Catalog:
    """The catalogue, read once."""
    content = yaml.safe_load(Path(__file__).with_name("catalog.yaml").read_text())
    machines = {name: Machine(**facts) for name, facts in content["machines"].items()}
    return Catalog(content["regions"], machines, content["presets"], content["quotas"])
