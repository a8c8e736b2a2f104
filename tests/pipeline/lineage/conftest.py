"""Real stores of TFX with complete, cached and failed executions; the mirror run as a user does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.standins.wandb.server import WandbStandIn

PROJECT = "paws"


@dataclass(frozen=True)
class Done:
    """A finished command."""

    status: int
    output: str
    errors: str


def start(*arguments, environment: dict[str, str]) -> subprocess.Popen:
    """Starts `python -m pipeline.lineage` in a process group of its own."""
    outside = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.lineage", *map(str, arguments)],
        cwd=REPOSITORY,
        env=outside | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(*arguments, environment: dict[str, str] | None = None, timeout: float = 120) -> Done:
    """Runs `python -m pipeline.lineage` to its end, after which no temporary file is left."""
    with tempfile.TemporaryDirectory() as temporary:
        process = start(*arguments, environment={"TMPDIR": temporary} | (environment or {}))
        output, errors = process.communicate(timeout=timeout)
        assert os.listdir(temporary) == []
    return Done(process.returncode, output, errors)


def mirror(store, server: WandbStandIn, *arguments, **environment) -> Done:
    """Mirrors a store into the stand-in."""
    return run(
        *("mirror", "--metadata", store, "--project", PROJECT, *arguments),
        environment=server.environment() | environment,
    )


@dataclass(frozen=True)
class Stores:
    """Real stores of TFX, not to be written to."""

    cheap: Path
    """Runs `cheap-1` (complete), `cheap-2` (cached) and `cheap-3` (one node failed)."""
    two_pipelines: Path
    """The same runs beside a whole run of pawprint."""


@pytest.fixture(scope="session")
def stores(pushed_run, tmp_path_factory) -> Stores:
    folder = tmp_path_factory.mktemp("stores")
    made = Stores(folder / "cheap.sqlite", folder / "two.sqlite")
    shutil.copy(pushed_run.root / "metadata.sqlite", made.two_pipelines)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.pipeline.lineage.cheap_pipeline",
            str(folder / "root"),
            str(made.cheap),
            str(made.two_pipelines),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def cheap(stores, tmp_path) -> Path:
    """A copy of the small store for one test."""
    return Path(shutil.copy(stores.cheap, tmp_path / "cheap.sqlite"))


@pytest.fixture
def two_pipelines(stores, tmp_path) -> Path:
    """A copy of the store of two pipelines for one test."""
    return Path(shutil.copy(stores.two_pipelines, tmp_path / "metadata.sqlite"))


@pytest.fixture
def server():
    with WandbStandIn() as running:
        yield running
    assert running.unknown == [], "operations that the stand-in does not know"
