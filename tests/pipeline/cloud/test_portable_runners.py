"""Beam's portable runners, which Flink and Spark are too: a job server and workers beside it."""

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.pipeline.cloud import up_to_transform
from tests.standins.dataflow_machines import WORKER_POOL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # a busy machine takes long


@contextlib.contextmanager
def _python(*arguments: str, log: Path):
    """A program beside the test, until its end."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=output, stderr=subprocess.STDOUT, cwd=REPOSITORY
        )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


@pytest.fixture
def job_server(tmp_path):
    """Beam's own job server in a process of its own; its address."""
    port_file, log = tmp_path / "port", tmp_path / "server.log"
    server = "apache_beam.runners.portability.local_job_service_main"
    options = ("--port", "0", "--port_file", str(port_file))
    with _python("-m", server, *options, log=log) as process:
        for _ in range(120):
            if port_file.exists() and port_file.read_text().strip():
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
        yield f"localhost:{port_file.read_text().strip()}"


@pytest.fixture
def worker_pool(tmp_path):
    """Beam's pool of workers, which takes work over the network as on any host; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with _python("-c", WORKER_POOL, port, log=tmp_path / "pool.log"):
        yield f"localhost:{port}"


def _transformed(pipeline: Path) -> list[bytes]:
    (folder,) = (pipeline / "Transform" / "transformed_examples").iterdir()
    return up_to_transform.examples(folder / "Split-train")


def test_a_portable_runner_makes_what_the_embedded_one_makes(
    pushed_run, job_server, worker_pool, tmp_path
):
    (records,) = (p for p in (pushed_run.root / "records").iterdir() if p.is_dir())
    flags = f"--runner=PortableRunner, --job_endpoint={job_server}, --environment_type=EXTERNAL"
    flags += f", --environment_config={worker_pool}"
    up_to_transform.run(records, tmp_path / "runs", f"beam.pipeline_args=[{flags}]")
    log = (tmp_path / "server.log").read_text()
    # ImportExampleGen, StatisticsGen and Transform: one job each at least.
    assert log.count("with state DONE") >= 3, log[-2000:]
    here = _transformed(pushed_run.root / "pipeline")
    assert "bundle\n" in (tmp_path / "pool.log").read_text()
    assert _transformed(tmp_path / "runs" / "pipeline") == here
