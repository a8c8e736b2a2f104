"""What Weights & Biases must hold for an execution, and how it differs from what it holds."""

from __future__ import annotations

import dataclasses

from pipeline.lineage.graph import Artifact, Edge, Execution, Graph, Id, Source
from pipeline.lineage.naming import Naming


@dataclasses.dataclass(frozen=True, order=True)
class Version:
    """A W&B artifact version that stands for one artifact of the store."""

    collection: str
    alias: str

    def __str__(self) -> str:
        return f"{self.collection}:{self.alias}"


@dataclasses.dataclass(frozen=True)
class Expected:
    """A W&B run that stands for one execution."""

    run_id: str
    state: str
    """`finished` or `failed`."""
    uses: dict[Version, Artifact]
    logs: dict[Version, Artifact]


@dataclasses.dataclass(frozen=True)
class Seen:
    """A run as W&B's public API tells it."""

    state: str
    uses: frozenset[Version]
    logs: frozenset[Version]


class Expectations:
    """Derives what is expected from a graph and the executions that made its artifacts."""

    def __init__(self, graph: Graph, source: Source, naming: Naming):
        """Reads from `source` the producers that the graph names and does not hold."""
        self._graph = graph
        self._naming = naming
        missing = sorted({p for p in graph.producers.values() if p not in graph.executions})
        self._executions = graph.executions | {e.id: e for e in source.executions(missing)}

    def of(self, execution: Execution) -> Expected:
        """What W&B must hold for an execution."""
        graph = self._graph
        return Expected(
            self._naming.run_id(execution, graph),
            "finished" if execution.state in ("complete", "cached") else "failed",
            {self.version(e.artifact): graph.artifacts[e.artifact] for e in execution.inputs},
            {self.version(e.artifact): graph.artifacts[e.artifact] for e in graph.made(execution)},
        )

    def version(self, artifact: Id) -> Version:
        """The version that stands for an artifact."""
        found = self._graph.artifacts[artifact]
        producer = self.producer(artifact)
        key = "" if producer is None else _key(producer.outputs, artifact)
        return Version(self._naming.collection(found, producer, key), self._naming.alias(found))

    def producer(self, artifact: Id) -> Execution | None:
        """The execution that made an artifact; None where it came from outside."""
        return self._executions.get(self._graph.producers.get(artifact))


def lacking(expected: Expected, seen: Seen | None) -> list[str]:
    """In words, what W&B lacks; empty where it has everything that is expected."""
    if seen is None:
        return ["the run is missing"]
    found = []
    if seen.state != expected.state:
        found.append(f"the run is {seen.state}, expected {expected.state}")
    for word, wanted, there in _edges(expected, seen):
        found += [f"{word} {version} is missing" for version in sorted(wanted - there)]
    return found


def excess(expected: Expected, seen: Seen | None) -> list[str]:
    """In words, edges between the mirror's versions that the store does not have."""
    if seen is None:
        return []
    return [
        f"{word} {version} is not in the store"
        for word, wanted, there in _edges(expected, seen)
        for version in sorted(there - wanted)
    ]


def _edges(expected: Expected, seen: Seen):
    yield "input", set(expected.uses), seen.uses
    yield "output", set(expected.logs), seen.logs


def _key(edges: tuple[Edge, ...], artifact: Id) -> str:
    return next(edge.key for edge in edges if edge.artifact == artifact)
