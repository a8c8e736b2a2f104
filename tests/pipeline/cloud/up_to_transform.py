"""The pipeline of runner_local.py as far as Transform: `... RECORDS SETTING...`."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import QUICK, REPOSITORY


def run(records: Path, root: Path, *settings: str) -> None:
    """Runs it in a process of its own; the artifacts lie in `root/pipeline`."""
    root.mkdir()
    quick = [setting.removeprefix("--set=") for setting in QUICK]
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(records), *quick, f"root={root}", *settings],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def examples(split: Path) -> list[bytes]:
    """The records of a folder of shards, each in one form, in an order of their own."""
    import tensorflow as tf

    files = [str(path) for path in split.iterdir()]
    return sorted(
        tf.train.Example.FromString(record.numpy()).SerializeToString(deterministic=True)
        for record in tf.data.TFRecordDataset(files, compression_type="GZIP")
    )


def _main(records: str, *settings: str) -> None:
    from tfx.orchestration.pipeline import RunOptions

    from pipeline.config.files import load_config
    from pipeline.pipeline import create_pipeline
    from pipeline.run.dag_runner import LocalDagRunner
    from pipeline.run.ingest import describe

    config = load_config(None, settings).model_copy(update={"records": describe(records)})
    failed = []

    def listener(report):
        failed.extend([report.node_id] if report.error else [])

    runner = LocalDagRunner("up-to-transform", listener)
    runner.run(create_pipeline(config), run_options=RunOptions(to_nodes=["Transform"]))
    assert not failed, failed


if __name__ == "__main__":
    _main(*sys.argv[1:])
