"""What Weights & Biases must hold for an execution, and how it differs from what it holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from pipeline.lineage import naming
from pipeline.lineage.naming import Naming
from pipeline.metadata.graph import Artifact, Edge, Execution, Graph, Id, MetadataSource


@dataclasses.dataclass(frozen=True, order=True)
class Version:
    """A W&B artifact version that stands for one artifact of the store."""

    collection: str
    alias: str

    def __str__(self) -> str:
        return f"{self.collection}:{self.alias}"


@dataclasses.dataclass(frozen=True)
class Labels:
    """What W&B shows of a run besides its state and its edges."""

    job_type: str | None
    group: str | None
    tags: frozenset[str]
    digest: str | None
    """Of what the config says of the execution under `mlmd`."""


@dataclasses.dataclass(frozen=True)
class Expected:
    """A W&B run that stands for one execution, or for where an artifact came from."""

    run_id: str
    state: str
    """`finished` or `failed`."""
    name: str
    labels: Labels
    facts: dict
    """What the config says under `mlmd`."""
    uses: dict[Version, Artifact]
    logs: dict[Version, Artifact]


@dataclasses.dataclass(frozen=True)
class Seen:
    """A run as W&B's public API tells it."""

    state: str
    labels: Labels
    uses: frozenset[Version]
    logs: frozenset[Version]


class Expectations:
    """Derives what is expected from a graph and the executions that made its artifacts."""

    def __init__(self, graph: Graph, source: MetadataSource, names: Naming):
        """Reads from `source` the producers that the graph names and does not hold."""
        self._graph = graph
        self._names = names
        missing = sorted({p for p in graph.producers.values() if p not in graph.executions})
        self._executions = graph.executions | {e.id: e for e in source.executions(missing)}

    def of(self, execution: Execution) -> Expected:
        """What W&B must hold for an execution."""
        graph = self._graph
        facts = self._facts(execution)
        return Expected(
            self._names.run_id(execution, graph),
            "finished" if execution.state in ("complete", "cached") else "failed",
            execution.node[:128],
            Labels(
                execution.node[:64],
                execution.run[:128] or None,
                naming.tags(execution),
                facts["digest"],
            ),
            facts,
            {self.version(e.artifact): graph.artifacts[e.artifact] for e in execution.inputs},
            {self.version(e.artifact): graph.artifacts[e.artifact] for e in graph.made(execution)},
        )

    def outside(self, artifact: Artifact) -> Expected:
        """What W&B must hold for an artifact that no execution made."""
        return Expected(
            self._names.outside_run_id(artifact),
            "finished",
            artifact.type,
            Labels("outside", None, frozenset(), None),
            {},
            {},
            {self.version(artifact.id): artifact},
        )

    def version(self, artifact: Id) -> Version:
        """The version that stands for an artifact."""
        found = self._graph.artifacts[artifact]
        producer = self.producer(artifact)
        key = "" if producer is None else _key(producer.outputs, artifact)
        return Version(self._names.collection(found, producer, key), self._names.alias(found))

    def producer(self, artifact: Id) -> Execution | None:
        """The execution that made an artifact; None where it came from outside."""
        return self._executions.get(self._graph.producers.get(artifact))

    def _facts(self, execution: Execution) -> dict:
        def name(artifact: Id) -> str:
            return str(self.version(artifact))

        facts = {
            "store": self._names.store,
            "execution": execution.id,
            "name": execution.name,
            "type": execution.type,
            "state": execution.state,
            "created": execution.created,
            "updated": execution.updated,
            "contexts": sorted(f"{kind}/{context}" for kind, context in execution.contexts),
            "inputs": naming.edges_by_key(execution.inputs, name),
            "outputs": naming.edges_by_key(execution.outputs, name),
            "properties": naming.plain(execution.properties),
        }
        return facts | {"digest": naming.facts_digest(facts)}


def lacking(expected: Expected, seen: Seen | None) -> list[str]:
    """In words, what W&B lacks; empty where it has everything that is expected."""
    if seen is None:
        return ["the run is missing"]
    found = []
    if seen.state != expected.state:
        found.append(f"the run is {seen.state}, expected {expected.state}")
    wanted, there = expected.labels, seen.labels
    for word in ("job_type", "group"):
        if (now := getattr(there, word)) != (then := getattr(wanted, word)):
            found.append(f"its {word} is {now!r}, expected {then!r}")
    if missing := wanted.tags - there.tags:
        found.append(f"it lacks the tags {', '.join(sorted(missing))}")
    if there.digest != wanted.digest:
        state = "out of date" if there.digest else "missing"
        found.append(f"what its config says of the execution is {state}")
    for word, edges, present in _edges(expected, seen):
        found += [f"{word} {version} is missing" for version in sorted(edges - present)]
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


def _edges(expected: Expected, seen: Seen) -> Iterator[tuple[str, set, frozenset]]:
    yield "input", set(expected.uses), seen.uses
    yield "output", set(expected.logs), seen.logs


def _key(edges: tuple[Edge, ...], artifact: Id) -> str:
    return next(edge.key for edge in edges if edge.artifact == artifact)
