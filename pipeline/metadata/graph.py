"""The content of a metadata store as a graph: executions, artifacts and the edges between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

Id = int | str
"""A number in ML Metadata's own stores, a resource id in Vertex ML Metadata."""

FINISHED = ("complete", "cached", "failed", "canceled")
"""States of an execution that has ended."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """One artifact."""

    id: Id
    type: str
    uri: str
    state: str
    name: str
    properties: dict[str, Any]
    """Properties and custom properties by name."""
    created: int
    """Time of creation in milliseconds since the epoch."""


@dataclasses.dataclass(frozen=True)
class Edge:
    """An input or output of an execution: the key and the artifact."""

    key: str
    artifact: Id


@dataclasses.dataclass(frozen=True)
class Execution:
    """One execution with its inputs and outputs."""

    id: Id
    type: str
    name: str
    state: str
    """`complete`, `cached`, `failed`, `canceled` or `running`."""
    properties: dict[str, Any]
    contexts: tuple[tuple[str, str], ...]
    """(type, name) of each context of the execution."""
    created: int
    """Time of creation in milliseconds since the epoch."""
    updated: int
    """Time of the last update in milliseconds since the epoch."""
    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]

    def context(self, kind: str) -> str:
        """Returns the name of the context of a type; "" without one."""
        return next((name for type_, name in self.contexts if type_ == kind), "")

    @property
    def pipeline(self) -> str:
        """Name of the pipeline."""
        return self.context("pipeline")

    @property
    def run(self) -> str:
        """Name of the pipeline run."""
        return self.context("pipeline_run")

    @property
    def node(self) -> str:
        """Id of the node in the pipeline; the last part of the type without a node context."""
        return self.context("node").removeprefix(f"{self.pipeline}.") or self.type.split(".")[-1]


@dataclasses.dataclass
class Graph:
    """A set of executions with all their input and output artifacts."""

    executions: dict[Id, Execution] = dataclasses.field(default_factory=dict)
    artifacts: dict[Id, Artifact] = dataclasses.field(default_factory=dict)
    producers: dict[Id, Id] = dataclasses.field(default_factory=dict)
    """Id of the execution that produced an artifact, by the artifact's id; imported artifacts have
    none."""

    def made(self, execution: Execution) -> Iterator[Edge]:
        """Returns the outputs that the execution produced itself, without those from the cache."""
        return (e for e in execution.outputs if self.producers.get(e.artifact) == execution.id)

    def outputs(self, execution: Execution) -> dict[str, list[Artifact]]:
        """Returns the output artifacts of an execution by output key."""
        outputs: dict[str, list[Artifact]] = {}
        for edge in execution.outputs:
            if edge.artifact in self.artifacts:
                outputs.setdefault(edge.key, []).append(self.artifacts[edge.artifact])
        return outputs


class StoreError(ValueError):
    """A metadata store that cannot be read; the message says why and what to do."""


class MetadataSource(Protocol):
    """Reads a metadata store and keeps notes in it: named texts that belong to no execution.

    Ids are those of the store.
    """

    uri: str
    """URI of the store, without a password."""
    errors: tuple[type[Exception], ...]
    """Exceptions that the methods raise if the store refuses a request or cannot be reached."""

    def parse_id(self, text: str) -> Id:
        """Parses an id that the user gave.

        Raises:
            StoreError: the text is not an id of this kind of store.
        """

    def updates(self, since: int | None) -> list[tuple[int, Id]]:
        """Lists executions updated at or after a time.

        Args:
            since: milliseconds since the epoch; None for all executions.

        Returns:
            (time of the last update, id) of each execution, in ascending order.
        """

    def run_ids(self, run: str) -> list[Id]:
        """Lists the executions of a pipeline run in order of creation; [] for an unknown run."""

    def runs(self) -> list[str]:
        """Lists the names of all pipeline runs, oldest first."""

    def executions(self, ids: Iterable[Id]) -> list[Execution]:
        """Reads executions by id."""

    def artifacts(self, ids: Iterable[Id]) -> list[Artifact]:
        """Reads artifacts by id; unknown ids are left out."""

    def producers(self, artifacts: Iterable[Id]) -> dict[Id, Id]:
        """Maps each artifact to the execution that produced it; leaves out imported artifacts."""

    def note(self, name: str) -> str | None:
        """Returns the text of a note; None if it does not exist."""

    def create_note(self, name: str, text: str) -> bool:
        """Creates a note; returns False if one of this name exists.

        If several processes create a note of the same name, it returns True in exactly one of them.
        """

    def write_note(self, name: str, text: str) -> None:
        """Creates or replaces a note."""


def load(source: MetadataSource, ids: Iterable[Id]) -> Graph:
    """Reads executions with all their input and output artifacts."""
    executions = {e.id: e for e in source.executions(ids)}
    used = {edge.artifact for e in executions.values() for edge in (*e.inputs, *e.outputs)}
    artifacts = {a.id: a for a in source.artifacts(sorted(used))}
    return Graph(executions, artifacts, source.producers(sorted(used)))


def of_run(source: MetadataSource, run: str) -> Graph:
    """Reads the graph of one pipeline run."""
    return load(source, source.run_ids(run))


def ancestry(source: MetadataSource, artifact: Id) -> Graph:
    """Reads an artifact and everything that it was produced from."""
    waiting = {artifact}
    seen: set[Id] = set()
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
