"""Beam's portable runners, which Flink and Spark are too: a job server and workers beside it."""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import QUICK, REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # a busy machine takes long

# The pipeline of runner_local.py with other Beam flags, as far as Transform.
_RUN = """
import sys
from tfx.orchestration.pipeline import RunOptions
from pipeline import config_files
from pipeline.ingest import describe
from pipeline.local_dag_runner import LocalDagRunner
from pipeline.pipeline import create_pipeline
config = config_files.load(None, sys.argv[2:]).model_copy(update={"records": describe(sys.argv[1])})
failed = []
def listener(report):
    failed.extend([report.node_id] if report.error else [])
runner = LocalDagRunner("portable", listener)
runner.run(create_pipeline(config), run_options=RunOptions(to_nodes=["Transform"]))
assert not failed, failed
"""


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


def _transformed(pipeline: Path) -> list[str]:
    import tensorflow as tf

    (folder,) = (pipeline / "Transform" / "transformed_examples").iterdir()
    files = [str(path) for path in (folder / "Split-train").iterdir()]
    return sorted(
        hashlib.sha256(
            tf.train.Example.FromString(record.numpy()).SerializeToString(deterministic=True)
        ).hexdigest()
        for record in tf.data.TFRecordDataset(files, compression_type="GZIP")
    )


def test_a_portable_runner_makes_what_the_embedded_one_makes(pushed_run, job_server, tmp_path):
    (records,) = (p for p in (pushed_run.root / "records").iterdir() if p.is_dir())
    flags = f"--runner=PortableRunner, --job_endpoint={job_server}, --environment_type=LOOPBACK"
    settings = [setting.removeprefix("--set=") for setting in QUICK]
    settings += [f"root={tmp_path / 'runs'}", f"beam.pipeline_args=[{flags}]"]
    (tmp_path / "runs").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(records), *settings],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log = (tmp_path / "server.log").read_text()
    # ImportExampleGen, StatisticsGen and Transform: one job each at least.
    assert log.count("with state DONE") >= 3, log[-2000:]
    assert _transformed(tmp_path / "runs" / "pipeline") == _transformed(
        pushed_run.root / "pipeline"
    )
