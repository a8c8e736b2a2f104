"""Stores written by hand, a project in memory, and the mirror between them without W&B's client."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.lineage.expected import Expected, Seen, Version
from pipeline.lineage.naming import Naming
from pipeline.lineage.target import TargetError
from pipeline.metadata.reader import sqlite_store

COMPLETE, RUNNING = mlmd.Execution.COMPLETE, mlmd.Execution.RUNNING


class SmallStore:
    """Executions of one pipeline, each of which may make one artifact and use others."""

    def __init__(self, path: Path):
        self._store = sqlite_store(str(path))

    def add(self, node: str, makes: str = "", uses=(), state: int = COMPLETE, kind="Examples"):
        """Returns the ids of the execution and of what it made (0 for nothing)."""
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

    def outside(self, uri: str) -> int:
        """An artifact that no execution made."""
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
    """What the mirror sees of W&B, in memory; see `pipeline.lineage.target.Target`.

    Attributes:
        writes: Ids of runs in the order in which they were written.
        refuses: Names (nodes) of runs that it does not take.
        is_gone: Whether nothing can be asked of it.
        late: How many times more a run is shown without what it logged.
    """

    def __init__(self):
        self.runs: dict[str, Seen] = {}
        self.writes: list[str] = []
        self.refuses: set[str] = set()
        self.is_gone = False
        self.late = 0

    def __str__(self) -> str:
        return "memory/project"

    def probe(self) -> None:
        if self.is_gone:
            raise TargetError("the server is gone")

    def renew(self) -> None:
        pass

    def see(self, run_id: str) -> Seen | None:
        seen = self.runs.get(run_id)
        if seen and self.late:
            self.late -= 1
            return dataclasses.replace(seen, logs=frozenset())
        return seen

    def has(self, version: Version) -> bool:
        return any(version in seen.logs for seen in self.runs.values())

    def run_ids(self, prefix: str):
        return (id for id in self.runs if id.startswith(prefix))

    def write(self, expected: Expected, names: Naming) -> None:
        self.writes.append(expected.name)
        if self.is_gone or expected.name in self.refuses:
            raise ValueError(f"{expected.name} is not taken\nand so on")
        assert all(self.has(version) for version in expected.uses), "used before it was logged"
        self.runs[expected.run_id] = Seen(
            expected.state, expected.labels, frozenset(expected.uses), frozenset(expected.logs)
        )
