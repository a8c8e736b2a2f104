"""Regions, machines, accelerators and presets, from `catalog.yaml`."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import yaml


@dataclasses.dataclass(frozen=True)
class Machine:
    """One machine type."""

    cpus: int
    """Number of vCPUs."""
    gb: float
    """Memory in GB."""
    accelerators: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    """Accelerator counts that the machine supports, by accelerator type."""
    requires_accelerator: bool = False
    """Whether the machine has no variant without an accelerator."""
    custom_training: bool = True
    """Whether Vertex AI custom training offers the machine."""


@dataclasses.dataclass(frozen=True)
class Catalog:
    """The values that settings of Google Cloud may have."""

    regions: list[str]
    machines: dict[str, Machine]
    presets: dict[str, dict[str, Any]]
    """Fields of a `PoolConfig`, by the name of the preset."""
    quotas: dict[str, str]
    """Name of the Vertex AI quota, by accelerator type."""


@functools.cache
def catalog() -> Catalog:
    """Reads the catalog, once in a process."""
    content = yaml.safe_load(Path(__file__).with_name("catalog.yaml").read_text())
    machines = {name: Machine(**fields) for name, fields in content["machines"].items()}
    return Catalog(content["regions"], machines, content["presets"], content["quotas"])
