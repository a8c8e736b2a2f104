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
BEAMS_OWN = f"gcr.io/cloud-dataflow/v1beta3/beam_python3.10_sdk:{metadata.version('apache-beam')}"
SETTINGS = (
    "cloud.training=null",
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

    def run(self, name: str, image: str) -> subprocess.CompletedProcess:
        """Runs the components from the client's host, artifacts of `name` in the bucket."""
        return self.python(
            "-m",
            "tests.pipeline.cloud.beam_from_here",
            "gs://bucket/photos",
            f"cloud.image={image}",
            f"root={self.scratch / name}",
            f"name={name}",
            *SETTINGS,
        )

    def python(self, *arguments) -> subprocess.CompletedProcess:
        """Runs a Python program on the client's host."""
        environment = {"PYTHONPATH": str(REPOSITORY)}
        return self.world.run(
            [sys.executable, *arguments], "client", env=environment, cwd=REPOSITORY, timeout=900
        )

    def fetch(self, uri: str, folder: Path) -> Path:
        """Copies a folder of the bucket to here."""
        for name in self.world.storage.names(f"{uri}/"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.world.storage.get(f"{uri}/{name}"))
        return folder

    def options(self, job_id: str) -> dict:
        return self.dataflow.jobs[job_id]["environment"]["sdkPipelineOptions"]["options"]


@contextmanager
def dataflow_cloud(photos: Path, scratch: Path) -> Iterator[Cloud]:
    """The world with photos at `gs://bucket/photos`, and images with and without the project."""
    with cloud_world() as world:
        for path in photos.rglob("*"):
            if path.is_file():
                at = f"gs://bucket/photos/{path.relative_to(photos)}"
                world.storage.put(at, path.read_bytes())
        machines = DataflowMachines(
            world, {IMAGE: [project_wheel(scratch / "wheel")], BEAMS_OWN: []}
        )
        dataflow = DataflowStandIn(machines)
        world.serve(dataflow, "dataflow")
        yield Cloud(world, dataflow, machines, scratch)
