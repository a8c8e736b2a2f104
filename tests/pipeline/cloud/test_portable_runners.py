"""Beam's portable runners, which Flink and Spark are too: a job server and workers beside it."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipeline.cloud import up_to_transform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # a busy machine takes long


@pytest.fixture
def job_server(tmp_path):
    """Beam's own job server in a process of its own; its address."""
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--port", "0", "--port_file", str(port_file)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(120):
            if port_file.exists() and port_file.read_text().strip():
                break
            assert server.poll() is None, (tmp_path / "server.log").read_text()
            time.sleep(0.5)
        yield f"localhost:{port_file.read_text().strip()}"
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)


def _transformed(pipeline: Path) -> list[bytes]:
    (folder,) = (pipeline / "Transform" / "transformed_examples").iterdir()
    return up_to_transform.examples(folder / "Split-train")


def test_a_portable_runner_makes_what_the_embedded_one_makes(pushed_run, job_server, tmp_path):
    (records,) = (p for p in (pushed_run.root / "records").iterdir() if p.is_dir())
    flags = f"--runner=PortableRunner, --job_endpoint={job_server}, --environment_type=LOOPBACK"
    up_to_transform.run(records, tmp_path / "runs", f"beam.pipeline_args=[{flags}]")
    log = (tmp_path / "server.log").read_text()
    # ImportExampleGen, StatisticsGen and Transform: one job each at least.
    assert log.count("with state DONE") >= 3, log[-2000:]
    here = _transformed(pushed_run.root / "pipeline")
    assert _transformed(tmp_path / "runs" / "pipeline") == here
