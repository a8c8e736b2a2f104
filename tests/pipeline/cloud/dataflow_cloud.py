"""Google Cloud as the runner sees it: a client's host, a bucket with photos, Dataflow's workers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tests.conftest import QUICK, REPOSITORY
from tests.standins.dataflow import DataflowStandIn
from tests.standins.dataflow_machines import DataflowMachines
from tests.standins.locked import project_wheel
from tests.standins.world import PROJECT, REGION, CloudWorld, cloud_world

IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/pawprint/pawprint-worker:1"
_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
BEAMS_OWN = (
    f"gcr.io/cloud-dataflow/v1beta3/beam_python{_PYTHON}_sdk:{metadata.version('apache-beam')}"
)
SETTINGS = (
    "cloud.bucket=bucket",
    f"cloud.region={REGION}",
    "wandb.mode=disabled",
    *(setting.removeprefix("--set=") for setting in QUICK),
)


@dataclass(frozen=True)
class Cloud:
    """The world with its Dataflow, and the photos in a bucket."""

    world: CloudWorld
    dataflow: DataflowStandIn
    machines: DataflowMachines
    scratch: Path
    wheel: Path
    """The project's, which its image has."""

    def python(self, *arguments) -> subprocess.CompletedProcess:
        """Runs a Python program on the client's host."""
        environment = {"PYTHONPATH": str(REPOSITORY)}
        return self.world.run(
            [sys.executable, *arguments], "client", env=environment, cwd=REPOSITORY, timeout=900
        )


@contextmanager
def dataflow_cloud(photos: Path, scratch: Path) -> Iterator[Cloud]:
    """The world with photos at `gs://bucket/photos`, and images with and without the project."""
    with cloud_world() as world:
        wheel = project_wheel(scratch / "wheel")
        for path in photos.rglob("*"):
            if path.is_file():
                at = f"gs://bucket/photos/{path.relative_to(photos)}"
                world.storage.put(at, path.read_bytes())
        machines = DataflowMachines(world, {IMAGE: [wheel], BEAMS_OWN: []})
        dataflow = DataflowStandIn(machines)
        world.serve(dataflow, "dataflow")
        yield Cloud(world, dataflow, machines, scratch, wheel)
