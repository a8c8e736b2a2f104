"""Vertex AI in a `cloud_world`: one gRPC server under the name that Google's clients call.

What is submitted runs on the world's hosts, over real gs:// addresses, and nothing that a container
sees is this process's but the processor.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from tests.standins.locked import locked_environment
from tests.standins.vertex_grpc import VertexGrpcStandIn
from tests.standins.vertex_pipelines import PipelinesStandIn
from tests.standins.vertex_prediction import VertexPredictionStandIn
from tests.standins.vertex_service import VertexStandIn
from tests.standins.vertex_training import TrainingStandIn
from tests.standins.world import CloudWorld

_PORT = 2222


class VertexOnHosts:
    """Pipelines, custom jobs and predictions; use it as a context manager.

    Attributes:
        pipelines: Runs, as the service shows them.
        tasks: Executes them; every container is a process on the host `client`.
        training: Custom jobs; each replica is a process on a host of its own.
        prediction: Models, endpoints and predictions. Every call is among its `requests`.
    """

    def __init__(
        self,
        world: CloudWorld,
        packages: Sequence[Path],
        hosts: Sequence[str] = ("worker-1", "worker-2"),
    ):
        """Makes the services.

        Args:
            world: Where `<region>-aiplatform.googleapis.com` will lead here.
            packages: What the image of all containers adds to the locked requirements.
            hosts: Of the replicas.
        """
        image = _Image(world, locked_environment(world.folder / "image", packages))
        self._world = world
        self.tasks = _Tasks(world, image)
        self.pipelines = VertexStandIn(self.tasks)
        self.training = _Training(world, image, hosts)
        self.prediction = VertexPredictionStandIn(world.storage)

    def __enter__(self):
        with ExitStack() as stack:
            services = [stack.enter_context(s) for s in (self.prediction, self.pipelines)]
            server = VertexGrpcStandIn(
                *services,
                beside=[self.training.handler],
                address=self._world.vertex,
                certificates=self._world.certificates,
            )
            stack.enter_context(server)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()


class _Image:
    """What every container has: the packages of the image, and the world of its host."""

    def __init__(self, world: CloudWorld, python: Path):
        self._world = world
        self._path = f"{python.parent}:/usr/bin:/bin"

    def start(
        self, command: list[str], host: str, environment: dict, scratch: Path, log: IO
    ) -> subprocess.Popen:
        return subprocess.Popen(
            self._world.network.command(command, host),
            env=environment | self._world.environment | {"PATH": self._path},
            cwd=scratch,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


class _Tasks(PipelinesStandIn):
    def __init__(self, world: CloudWorld, image: _Image):
        super().__init__(world.folder / "tasks", {})
        self._storage = world.storage
        self._image = image

    def _start(self, command: list[str], scratch: Path, log: IO) -> subprocess.Popen:
        environment = {"HOME": str(scratch), "TMPDIR": str(scratch), "TF_USE_LEGACY_KERAS": "1"}
        environment |= self.environment
        return self._image.start(command, "client", environment, scratch, log)

    def _make_folder(self, uri: str) -> None:
        """A bucket has every folder."""

    def _read(self, uri: str) -> str:
        return self._storage.get(uri).decode()


class _Training(TrainingStandIn):
    def __init__(self, world: CloudWorld, image: _Image, hosts: Sequence[str]):
        super().__init__(world.folder / "replicas")
        self._image = image
        self._hosts = hosts

    def _addresses(self, count: int) -> list[str]:
        assert count <= len(self._hosts), f"{count} replicas on {len(self._hosts)} hosts"
        return [f"{host}:{_PORT + len(self.jobs)}" for host in self._hosts[:count]]

    def _start(
        self, address: str, command: list[str], environment: dict, scratch: Path, log: IO
    ) -> subprocess.Popen:
        environment = {k: v for k, v in environment.items() if k != "PYTHONPATH"}
        return self._image.start(command, address.partition(":")[0], environment, scratch, log)
