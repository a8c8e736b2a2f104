"""What a metadata store recorded, as a graph: executions, artifacts and the edges between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Protocol

Id = int | str
"""Numbers in ML Metadata's own stores, resource ids in Vertex ML Metadata."""

FINISHED = ("complete", "cached", "failed", "canceled")


@dataclasses.dataclass(frozen=True)
class Artifact:
    """One artifact."""

    id: Id
    type: str
    uri: str
    state: str
    name: str
    properties: dict[str, object]
    created: int
    """Milliseconds since 1970, as all times here."""


@dataclasses.dataclass(frozen=True)
class Edge:
    """An artifact under a key of an execution's inputs or outputs."""

    key: str
    artifact: Id


@dataclasses.dataclass(frozen=True)
class Execution:
    """One execution with its edges."""

    id: Id
    type: str
    name: str
    state: str
    """`complete`, `cached`, `failed`, `canceled` or `running`."""
    properties: dict[str, object]
    contexts: tuple[tuple[str, str], ...]
    """(type, name) of every context it belongs to."""
    created: int
    updated: int
    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]

    def context(self, kind: str) -> str:
        """Name of the context of a type; "" where there is none."""
        return next((name for type_, name in self.contexts if type_ == kind), "")

    @property
    def pipeline(self) -> str:
        """Name of its pipeline."""
        return self.context("pipeline")

    @property
    def run(self) -> str:
        """Name of its pipeline run."""
        return self.context("pipeline_run")

    @property
    def node(self) -> str:
        """Id of its node in the pipeline; the last part of its type where it has none."""
        return self.context("node").removeprefix(f"{self.pipeline}.") or self.type.split(".")[-1]


@dataclasses.dataclass
class Graph:
    """Some executions with all artifacts that they touch."""

    executions: dict[Id, Execution] = dataclasses.field(default_factory=dict)
    artifacts: dict[Id, Artifact] = dataclasses.field(default_factory=dict)
    producers: dict[Id, Id] = dataclasses.field(default_factory=dict)
    """Which execution made an artifact; none for what came from outside."""

    def made(self, execution: Execution) -> Iterator[Edge]:
        """Outputs that this execution made, not those that it found in the cache."""
        return (e for e in execution.outputs if self.producers.get(e.artifact) == execution.id)


class StoreError(ValueError):
    """A metadata store that cannot be opened; the message says why and what to do."""


class MetadataSource(Protocol):
    """A metadata store that can be read; all ids are its own."""

    uri: str
    """Where it is, without a password."""
    errors: tuple[type[Exception], ...]
    """What its methods raise where the store refuses or is out of reach."""

    def parse_id(self, text: str) -> Id:
        """The id that a user wrote.

        Raises:
            StoreError: no id of this kind of store.
        """

    def updates(self, since: int | None) -> list[tuple[int, Id]]:
        """(time of last update, id) of executions updated at `since` or later, in that order."""

    def run_ids(self, run: str) -> list[Id]:
        """Executions of a pipeline run, in order; empty for an unknown one."""

    def runs(self) -> list[str]:
        """Names of the pipeline runs, oldest first."""

    def executions(self, ids: Iterable[Id]) -> list[Execution]:
        """These executions."""

    def artifacts(self, ids: Iterable[Id]) -> list[Artifact]:
        """Those of these artifacts that there are."""

    def producers(self, artifacts: Iterable[Id]) -> dict[Id, Id]:
        """The execution that made each artifact, where one did."""


def load(source: MetadataSource, ids: Iterable[Id]) -> Graph:
    """These executions with the artifacts that they touch."""
    executions = {e.id: e for e in source.executions(ids)}
    touched = {edge.artifact for e in executions.values() for edge in (*e.inputs, *e.outputs)}
    artifacts = {a.id: a for a in source.artifacts(sorted(touched))}
    return Graph(executions, artifacts, source.producers(sorted(touched)))


def of_run(source: MetadataSource, run: str) -> Graph:
    """The graph of one pipeline run."""
    return load(source, source.run_ids(run))


def ancestry(source: MetadataSource, artifact: Id) -> Graph:
    """Everything from which an artifact was made, and itself."""
    waiting, seen = {artifact}, set()
    ids: set[Id] = set()
    while waiting:
        seen |= waiting
        new = set(source.producers(sorted(waiting)).values()) - ids
        ids |= new
        waiting = {e.artifact for x in source.executions(sorted(new)) for e in x.inputs} - seen
    graph = load(source, sorted(ids))
    kept = seen & set(graph.artifacts) | {artifact}
    executions = {
        id: dataclasses.replace(x, outputs=tuple(e for e in x.outputs if e.artifact in kept))
        for id, x in graph.executions.items()
    }
    artifacts = {a.id: a for a in source.artifacts(sorted(kept))}
    producers = {a: x for a, x in graph.producers.items() if a in kept}
    return Graph(executions, artifacts, producers)
