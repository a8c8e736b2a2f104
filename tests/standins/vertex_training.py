"""Vertex AI's JobService over gRPC: takes custom jobs and runs each replica as a process.

Like the service, it gives every replica of a job with more than one the TF_CONFIG of its cluster:
pool 0 is the chief, pool 1 the workers.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import grpc
from google.cloud.aiplatform_v1.types import (
    CreateCustomJobRequest,
    CustomJob,
    GetCustomJobRequest,
    JobState,
)

from tests.models.cluster_of import addresses
from tests.standins.certificates import Certificates

_SERVICE = "google.cloud.aiplatform.v1.JobService"
_KINDS = ("chief", "worker")


class TrainingStandIn:
    """The service; use it as a context manager.

    Attributes:
        address: Host and port of the gRPC server, once entered.
        handler: For another gRPC server; then this one need not be entered.
        jobs: Name to CustomJob, as they stand.
        logs: Name of a job to the logs of its replicas.
        clusters: Name of a job to the addresses of its replicas by kind, as in TF_CONFIG.
    """

    def __init__(self, folder: Path, certificates: Certificates | None = None):
        self._folder = folder
        self._certificates = certificates
        self.jobs: dict[str, CustomJob] = {}
        self.logs: dict[str, list[Path]] = {}
        self.clusters: dict[str, dict[str, list[str]]] = {}
        handlers = {
            "CreateCustomJob": (self._create, CreateCustomJobRequest),
            "GetCustomJob": (self._get, GetCustomJobRequest),
        }
        methods = {
            name: grpc.unary_unary_rpc_method_handler(answer, kind.deserialize, CustomJob.serialize)
            for name, (answer, kind) in handlers.items()
        }
        self.handler = grpc.method_handlers_generic_handler(_SERVICE, methods)

    def __enter__(self):
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=(self.handler,))
        key, chain = (p.read_bytes() for p in (self._certificates.key, self._certificates.server))
        port = self._server.add_secure_port(
            "127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)])
        )
        self._server.start()
        self.address = "127.0.0.1", port
        return self

    def __exit__(self, *_):
        self._server.stop(None).wait()

    def _create(self, request: CreateCustomJobRequest, context) -> CustomJob:
        job = request.custom_job
        pools = job.job_spec.worker_pool_specs
        if not job.display_name or not pools or pools[0].replica_count != 1:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "a custom job needs a display name and one replica in its first worker pool",
            )
        if any(not p.container_spec.image_uri or not p.machine_spec.machine_type for p in pools):
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "a worker pool needs a machine and an image"
            )
        job.name = f"{request.parent}/customJobs/{len(self.jobs) + 1}"
        job.state = JobState.JOB_STATE_RUNNING
        self.jobs[job.name] = job
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def _get(self, request: GetCustomJobRequest, context) -> CustomJob:
        if request.name not in self.jobs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no job {request.name}")
        return self.jobs[request.name]

    def _run(self, job: CustomJob) -> None:
        folder = self._folder / job.name.rpartition("/")[2]
        pools = dict(zip(_KINDS, job.job_spec.worker_pool_specs, strict=False))
        free = iter(self._addresses(sum(pool.replica_count for pool in pools.values())))
        cluster = {
            kind: [next(free) for _ in range(pool.replica_count)] for kind, pool in pools.items()
        }
        self.clusters[job.name] = cluster
        logs = self.logs.setdefault(job.name, [])
        processes = []
        with contextlib.ExitStack() as stack:
            for kind, pool in pools.items():
                for index in range(pool.replica_count):
                    scratch = folder / f"{kind}-{index}"
                    scratch.mkdir(parents=True)
                    logs.append(scratch / "log.txt")
                    processes.append(
                        self._start(
                            cluster[kind][index],
                            list(pool.container_spec.command) + list(pool.container_spec.args),
                            _environment(pool, cluster, kind, index, scratch),
                            scratch,
                            stack.enter_context(logs[-1].open("w")),
                        )
                    )
            ended = [process.wait() for process in processes]
        failed = [status for status in ended if status]
        if failed:
            job.error.message = f"The replica exited with a non-zero status of {failed[0]}."
        job.state = JobState.JOB_STATE_FAILED if failed else JobState.JOB_STATE_SUCCEEDED

    def _addresses(self, count: int) -> list[str]:
        """Where the replicas of a job will listen."""
        return addresses(count)

    def _start(
        self, address: str, command: list[str], environment: dict, scratch: Path, log: IO
    ) -> subprocess.Popen:
        """Starts the process of the replica that will listen at an address."""
        return subprocess.Popen(
            command, env=environment, cwd=scratch, stdout=log, stderr=subprocess.STDOUT
        )


def _environment(pool, cluster: dict, kind: str, index: int, scratch: Path) -> dict[str, str]:
    """What the image and the service set."""
    variables = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    variables |= {variable.name: variable.value for variable in pool.container_spec.env}
    if sum(map(len, cluster.values())) > 1:
        task = {"type": kind, "index": index}
        config = {"cluster": cluster, "task": task, "environment": "cloud"}
        variables["TF_CONFIG"] = json.dumps(config)
    return variables
