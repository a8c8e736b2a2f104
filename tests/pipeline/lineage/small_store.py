"""Hand-written stores and an in-memory project, to test the mirror without W&B's client."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.lineage.expected import ActualRun, ArtifactVersion, ExpectedRun
from pipeline.lineage.naming import Naming
from pipeline.lineage.wandb_project import WandbError
from pipeline.metadata.reader import sqlite_store

COMPLETE, RUNNING = mlmd.Execution.COMPLETE, mlmd.Execution.RUNNING


class SmallStore:
    """Executions of one pipeline with at most one output and any number of inputs."""

    def __init__(self, path: Path):
        self._store = sqlite_store(str(path))

    def add(self, node: str, makes: str = "", uses=(), state: int = COMPLETE, kind="Examples"):
        """Returns the ids of the execution and of its output (0 without one)."""
        kinds = self._store.put_execution_type(mlmd.ExecutionType(name="Component"))
        execution = mlmd.Execution(type_id=kinds, name=f"{node} {makes}", last_known_state=state)
        edges = [(self._artifact(id), _event(mlmd.Event.INPUT)) for id in uses]
        if makes:
            edges.append((self._new(makes, kind), _event(mlmd.Event.OUTPUT)))
        contexts = [
            mlmd.Context(type_id=self._store.put_context_type(mlmd.ContextType(name=k)), name=name)
            for k, name in (("pipeline", "p"), ("pipeline_run", "r"), ("node", f"p.{node}"))
        ]
        id, artifacts, _ = self._store.put_execution(
            execution, edges, contexts, reuse_context_if_already_exist=True
        )
        return id, artifacts[-1] if makes else 0

    def imported(self, uri: str) -> int:
        """Adds an artifact without a producer."""
        return self._store.put_artifacts([self._new(uri, "PhotoSet")])[0]

    def set_state(self, execution: int, state: int) -> None:
        [found] = self._store.get_executions_by_id([execution])
        found.last_known_state = state
        self._store.put_executions([found])

    def _artifact(self, id: int) -> mlmd.Artifact:
        return self._store.get_artifacts_by_id([id])[0]

    def _new(self, uri: str, kind: str) -> mlmd.Artifact:
        type_id = self._store.put_artifact_type(mlmd.ArtifactType(name=kind))
        return mlmd.Artifact(type_id=type_id, uri=uri, state=mlmd.Artifact.LIVE)


def _event(kind: int) -> mlmd.Event:
    event = mlmd.Event(type=kind)
    event.path.steps.add().key = "data"
    return event


class Project:
    """An in-memory `pipeline.lineage.wandb_project.WandbProject`.

    Attributes:
        writes: Ids of runs in the order in which they were written.
        rejects: Names (nodes) of runs that it rejects.
        is_gone: Whether the server is unreachable.
        late: Number of reads that still return a run without its outputs.
    """

    def __init__(self):
        self.runs: dict[str, ActualRun] = {}
        self.writes: list[str] = []
        self.rejects: set[str] = set()
        self.is_gone = False
        self.late = 0

    def __str__(self) -> str:
        return "memory/project"

    def probe(self) -> None:
        if self.is_gone:
            raise WandbError("the server is gone")

    def restart_service(self) -> None:
        pass

    def read_run(self, run_id: str) -> ActualRun | None:
        run = self.runs.get(run_id)
        if run and self.late:
            self.late -= 1
            return dataclasses.replace(run, outputs=frozenset())
        return run

    def has_version(self, version: ArtifactVersion) -> bool:
        return any(version in run.outputs for run in self.runs.values())

    def run_ids(self, prefix: str):
        return (id for id in self.runs if id.startswith(prefix))

    def write_run(self, expected: ExpectedRun, names: Naming) -> None:
        self.writes.append(expected.name)
        if self.is_gone or expected.name in self.rejects:
            raise ValueError(f"{expected.name} is not taken\nand so on")
        assert all(self.has_version(v) for v in expected.inputs), "used before it was logged"
        self.runs[expected.run_id] = ActualRun(
            expected.state,
            expected.fields,
            frozenset(expected.inputs),
            frozenset(expected.outputs),
        )
