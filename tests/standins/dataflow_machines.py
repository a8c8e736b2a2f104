"""The machines of a Dataflow job: hosts that hold an image and what was staged, nothing else."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from tests.standins import dataflow_runner
from tests.standins.dataflow import JobFailed
from tests.standins.locked import locked_environment
from tests.standins.world import CloudWorld

_PORT = 50000
WORKER_POOL = """
import sys, threading
from apache_beam.runners.worker import sdk_worker
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
process = sdk_worker.SdkWorker.process_bundle
def told(self, request, instruction_id):
    print("bundle", flush=True)
    return process(self, request, instruction_id)
sdk_worker.SdkWorker.process_bundle = told
_, kept = BeamFnExternalWorkerPoolServicer.start(port=int(sys.argv[1]))
threading.Event().wait()
"""
"""Serves as Beam's worker image does, its workers being threads; each bundle leaves a line."""


class DataflowMachines:
    """Runs jobs on the workers of a world; give it to DataflowStandIn.

    A worker's environment holds the locked requirements, which stand for what Beam's own image and
    the project's have in common, the packages of its image, and those that the job staged. Workers
    stay for the next job with the same packages.

    Args:
        world: With a host `dataflow`, and the hosts of the workers.
        images: Image name to the packages that its Dockerfile adds to the locked requirements.
        hosts: Of the workers.
    """

    def __init__(
        self,
        world: CloudWorld,
        images: Mapping[str, Sequence[Path]],
        hosts: Sequence[str] = ("worker-1", "worker-2"),
    ):
        self._world = world
        self._images = images
        self._hosts = hosts
        self._folder = world.folder / "machines"
        self._pools: dict[str, list[str]] = {}
        self._bare = locked_environment(self._folder / "bare")
        self.logs = self._folder / "logs"
        """Output of the workers, a file for each host and set of packages."""
        self.logs.mkdir()
        self.worked: dict[str, dict[str, int]] = {}
        """Job id to how many bundles of elements each host worked on; of one job at a time."""

    def steps(self, job: dict) -> list[str]:
        """The names of the staged pipeline's transforms, outermost first."""
        options = job["environment"]["sdkPipelineOptions"]["options"]
        staged = self._world.storage.get(options["pipelineUrl"])
        transforms = beam_runner_api_pb2.Pipeline.FromString(staged).components.transforms
        names = (transform.unique_name for transform in transforms.values())
        return sorted(names, key=lambda name: name.count("/"))

    def _bundles(self) -> dict[str, int]:
        """How many bundles of elements each host has worked on."""
        return {
            host: sum(log.read_text().count("bundle\n") for log in self.logs.glob(f"{host}-*.log"))
            for host in self._hosts
        }

    def __call__(self, job: dict) -> None:
        """Runs one job to its end.

        Raises:
            JobFailed: With the runner's last words, as Dataflow would put them in the job's log.
        """
        options = job["environment"]["sdkPipelineOptions"]["options"]
        staged = self._world.storage.get(options["pipelineUrl"])
        pipeline = beam_runner_api_pb2.Pipeline.FromString(staged)
        image, packages = self._environment_of(pipeline, self._folder / job["id"])
        path = self._folder / f"{job['id']}.pb"
        path.write_bytes(staged)
        pools, before = self._start(image, packages), self._bundles()
        done = self._world.run(
            [self._bare, dataflow_runner.__file__, path, *pools],
            host="dataflow",
            env={"PYTHONPATH": ""},
            cwd=self._folder,
        )
        (self.logs / f"{job['id']}.log").write_text(done.stderr)
        self.worked[job["id"]] = {
            host: count - before[host] for host, count in self._bundles().items()
        }
        if done.returncode:
            raise JobFailed(_last_traceback(done.stderr))

    def _environment_of(
        self, pipeline: beam_runner_api_pb2.Pipeline, folder: Path
    ) -> tuple[str, list[Path]]:
        """The image of a pipeline's workers, and the staged packages, fetched into a folder."""
        (environment,) = pipeline.components.environments.values()
        payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
        packages = []
        folder.mkdir()
        for dependency in environment.dependencies:
            role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(
                dependency.role_payload
            )
            assert dependency.type_urn == common_urns.artifact_types.URL.urn
            artifact = beam_runner_api_pb2.ArtifactUrlPayload.FromString(dependency.type_payload)
            content = self._world.storage.get(artifact.url)
            if hashlib.sha256(content).hexdigest() != artifact.sha256:
                raise JobFailed(f"{artifact.url} is not what was submitted")
            path = folder / role.staged_name
            path.write_bytes(content)
            if path.name.endswith((".tar.gz", ".whl")):
                packages.append(path)
        return payload.container_image, packages

    def _start(self, image: str, packages: list[Path]) -> list[str]:
        """Worker pools with these packages, one a host: their addresses."""
        if image not in self._images:
            raise JobFailed(f"Failed to pull image {image}: not found")
        content = b"".join(path.read_bytes() for path in packages)
        key = hashlib.sha256(image.encode() + content).hexdigest()[:12]
        if key in self._pools:
            return self._pools[key]
        port = _PORT + len(self._pools)

        def start(host: str) -> None:
            folder = self._folder / host / key
            try:
                python = locked_environment(folder, [*self._images[image], *packages])
            except subprocess.CalledProcessError as error:
                raise JobFailed(f"A package was not installed: {error.stderr}") from error
            with (self.logs / f"{host}-{key}.log").open("w") as log:
                self._world.start(
                    [python, "-c", WORKER_POOL, port],
                    host,
                    env={"PYTHONPATH": "", "TF_USE_LEGACY_KERAS": "1"},
                    cwd=folder,
                    stdout=log,
                    stderr=log,
                )

        with ThreadPoolExecutor() as threads:
            list(threads.map(start, self._hosts))
        self._pools[key] = [f"{host}:{port}" for host in self._hosts]
        return self._pools[key]


def _last_traceback(said: str) -> str:
    """The worker's traceback that a failed bundle sent to the runner."""
    _, found, last = said.rpartition("Traceback (most recent call last)")
    return (found + last).strip() or said[-2000:]
