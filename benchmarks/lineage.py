"""Measures time and memory of the mirror of ML Metadata into Weights & Biases.

    python -m benchmarks.lineage

The store is ML Metadata's, the client W&B's; the server is the local stand-in of the tests, so
network latency comes on top: about 30 requests per execution.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from ml_metadata.proto import metadata_store_pb2 as mlmd

from benchmarks.wandb_server import WandbServer, wandb_server
from pipeline.metadata.reader import sqlite_store

_NODES = 10
_PROJECT = "benchmark"


def fill(path: Path, executions: int) -> None:
    """Records runs of ten nodes; each node uses the output of the previous one."""
    store = sqlite_store(str(path))
    artifact_type = store.put_artifact_type(mlmd.ArtifactType(name="Examples"))
    execution_type = store.put_execution_type(mlmd.ExecutionType(name="Component"))
    context_types = {
        name: store.put_context_type(mlmd.ContextType(name=name))
        for name in ("pipeline", "pipeline_run", "node")
    }
    before = None
    for number in range(executions):
        node = number % _NODES
        names = {
            "pipeline": "b",
            "pipeline_run": f"run-{number // _NODES}",
            "node": f"b.Node{node}",
        }
        execution = mlmd.Execution(
            type_id=execution_type, name=f"e{number}", last_known_state=mlmd.Execution.COMPLETE
        )
        execution.custom_properties["settings"].string_value = "x" * 500
        made = mlmd.Artifact(type_id=artifact_type, uri=f"/a/{number}", state=mlmd.Artifact.LIVE)
        edges = [(made, _event(mlmd.Event.OUTPUT))]
        if node:
            edges.append((before, _event(mlmd.Event.INPUT)))
        contexts = [mlmd.Context(type_id=context_types[k], name=n) for k, n in names.items()]
        _, ids, _ = store.put_execution(
            execution, edges, contexts, reuse_context_if_already_exist=True
        )
        [before] = store.get_artifacts_by_id(ids[:1])


def _event(kind: int) -> mlmd.Event:
    event = mlmd.Event(type=kind)
    event.path.steps.add().key = "examples"
    return event


def mirror(store: Path, server: WandbServer) -> tuple[float, float]:
    """Runs the mirror once; returns seconds and the peak memory in MB, with W&B's service."""
    started = time.monotonic()
    command = [sys.executable, "-m", "pipeline.lineage", "mirror", "--metadata", str(store)]
    command += ["--project", _PROJECT, "--deadline", "3600"]
    process = subprocess.Popen(
        command,
        env=os.environ | server.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, _memory(process.pid))
        time.sleep(0.1)
    seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(process.stdout.read())
    return seconds, peak / 1e6


def _memory(pid: int) -> int:
    """Returns the bytes of a process and its children; shared pages count once."""
    try:
        root = psutil.Process(pid)
        return sum(p.memory_full_info().pss for p in (root, *root.children(recursive=True)))
    except psutil.Error:
        return 0


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--executions", type=int, nargs="+", default=[25, 100])
    arguments = parser.parse_args()
    print("executions  first pass  per execution  requests each  second pass  peak memory")
    for executions in arguments.executions:
        with tempfile.TemporaryDirectory() as folder, wandb_server() as server:
            store = Path(folder) / "metadata.sqlite"
            fill(store, executions)
            first, memory = mirror(store, server)
            requests = server.requests() / executions
            second, _ = mirror(store, server)
        print(
            f"{executions:>10}{first:>10.1f} s{first / executions:>13.2f} s{requests:>15.1f}"
            f"{second:>11.1f} s{memory:>10.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
