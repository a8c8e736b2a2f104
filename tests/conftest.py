"""What all tests share: the environment of a run, drawn photos, and one real run a session."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


@dataclass(frozen=True)
class FinishedRun:
    """A run of runner_local.py in a process of its own."""

    root: Path
    status: int
    output: str
    errors: str

    @property
    def folder(self) -> Path:
        return sorted((self.root / "runs").iterdir())[-1]

    @property
    def summary(self) -> dict:
        return json.loads((self.folder / "summary.json").read_text())


def run_local(*arguments, root: Path) -> FinishedRun:
    """Runs runner_local.py as a user does."""
    command = [sys.executable, "runner_local.py", *map(str, arguments), "--root", str(root)]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=580, check=False
    )
    return FinishedRun(root, done.returncode, done.stdout, done.stderr)


# Two epochs on few photos reach nothing worth asking for; the bound is met by any model.
QUICK = (
    "--set=trainer.epochs=2",
    "--set=gate.min_slice_size=1",
    "--set=gate.cross_validate=false",
    "--set=gate.bounds=[{metric: loss, max: 100, max_change: 100}, "
    "{metric: accuracy, slice_by: label, min: 0}]",
)
# The same with every component that there is.
WHOLE = (*QUICK, "--set=gate.cross_validate=true")


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """80 drawn photos of cats and dogs, one of them broken."""
    from data.sources import samples

    folder = tmp_path_factory.mktemp("drawn") / "photos"
    samples.draw(folder, count=80, size=64)
    (folder / "cat" / "broken, really.jpg").write_bytes(b"\xff\xd8\xff no photo")
    return folder


@pytest.fixture(scope="session")
def pushed_run(photos, tmp_path_factory) -> FinishedRun:
    """One whole run on the drawn photos that ends with a pushed model."""
    return run_local("--images", photos, *WHOLE, root=tmp_path_factory.mktemp("pushed"))


def shared(*parts: str) -> Path:
    """A file of the shared photos and records; the test is skipped where there is none."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(parts)} beside the repository, in shared/")
    return path
