"""The Weights & Biases run that an execution requires, and its differences from the actual one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Set
from typing import Any

from pipeline.lineage import naming
from pipeline.lineage.naming import Naming
from pipeline.metadata.graph import Artifact, Edge, Execution, Graph, Id, MetadataSource


@dataclasses.dataclass(frozen=True, order=True)
class ArtifactVersion:
    """The version of a W&B artifact that represents one artifact of the store."""

    collection: str
    alias: str

    def __str__(self) -> str:
        return f"{self.collection}:{self.alias}"


@dataclasses.dataclass(frozen=True)
class RunFields:
    """Fields of a W&B run, besides its state and its artifacts."""

    job_type: str | None
    group: str | None
    tags: frozenset[str]
    digest: str | None
    """Digest of the execution's facts in the config, under the key `mlmd`."""


@dataclasses.dataclass(frozen=True)
class ExpectedRun:
    """The W&B run that represents an execution or the origin of an imported artifact."""

    run_id: str
    state: str
    """`finished` or `failed`."""
    name: str
    fields: RunFields
    facts: dict[str, Any]
    """Facts of the execution in the config, under the key `mlmd`."""
    inputs: dict[ArtifactVersion, Artifact]
    outputs: dict[ArtifactVersion, Artifact]


@dataclasses.dataclass(frozen=True)
class ActualRun:
    """A run as read from W&B's public API."""

    state: str
    fields: RunFields
    inputs: frozenset[ArtifactVersion]
    outputs: frozenset[ArtifactVersion]


class ExpectedRuns:
    """Derives the expected runs from a graph.

    Args:
        graph: Executions and their artifacts.
        source: The metadata store; producers outside the graph are read from it.
        names: Names of the store.
    """

    def __init__(self, graph: Graph, source: MetadataSource, names: Naming):
        self._graph = graph
        self._names = names
        missing = sorted({p for p in graph.producers.values() if p not in graph.executions})
        self._executions = graph.executions | {e.id: e for e in source.executions(missing)}

    def of_execution(self, execution: Execution) -> ExpectedRun:
        """Returns the run of an execution."""
        graph = self._graph
        facts = self._facts(execution)
        made = graph.made(execution)
        return ExpectedRun(
            run_id=self._names.run_id(execution, graph),
            state="finished" if execution.state in ("complete", "cached") else "failed",
            name=execution.node[:128],
            fields=RunFields(
                job_type=execution.node[:64],
                group=execution.run[:128] or None,
                tags=naming.tags(execution),
                digest=facts["digest"],
            ),
            facts=facts,
            inputs={
                self.version(e.artifact): graph.artifacts[e.artifact] for e in execution.inputs
            },
            outputs={self.version(e.artifact): graph.artifacts[e.artifact] for e in made},
        )

    def of_imported(self, artifact: Artifact) -> ExpectedRun:
        """Returns the run that logs an artifact without a producer."""
        return ExpectedRun(
            run_id=self._names.imported_run_id(artifact),
            state="finished",
            name=artifact.type,
            fields=RunFields(job_type="outside", group=None, tags=frozenset(), digest=None),
            facts={},
            inputs={},
            outputs={self.version(artifact.id): artifact},
        )

    def version(self, artifact: Id) -> ArtifactVersion:
        """Returns the version that represents an artifact."""
        found = self._graph.artifacts[artifact]
        producer = self.producer(artifact)
        key = "" if producer is None else _key(producer.outputs, artifact)
        return ArtifactVersion(
            self._names.collection(found, producer, key), self._names.alias(found)
        )

    def producer(self, artifact: Id) -> Execution | None:
        """Returns the execution that produced an artifact; None for an imported one."""
        if artifact not in self._graph.producers:
            return None
        return self._executions.get(self._graph.producers[artifact])

    def _facts(self, execution: Execution) -> dict[str, Any]:
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
            "properties": naming.to_json(execution.properties),
        }
        return facts | {"digest": naming.facts_digest(facts)}


def missing_parts(expected: ExpectedRun, actual: ActualRun | None) -> list[str]:
    """Describes what the actual run lacks; [] if it is complete."""
    if actual is None:
        return ["the run is missing"]
    problems = []
    if actual.state != expected.state:
        problems.append(f"the run is {actual.state}, expected {expected.state}")
    wanted, found = expected.fields, actual.fields
    if found.job_type != wanted.job_type:
        problems.append(f"its job_type is {found.job_type!r}, expected {wanted.job_type!r}")
    if found.group != wanted.group:
        problems.append(f"its group is {found.group!r}, expected {wanted.group!r}")
    if missing := wanted.tags - found.tags:
        problems.append(f"it lacks the tags {', '.join(sorted(missing))}")
    if found.digest != wanted.digest:
        state = "out of date" if found.digest else "missing"
        problems.append(f"the execution's entry in its config is {state}")
    for kind, required, present in _edges(expected, actual):
        problems += [f"{kind} {version} is missing" for version in sorted(required - present)]
    return problems


def unexpected_edges(expected: ExpectedRun, actual: ActualRun | None) -> list[str]:
    """Describes inputs and outputs of the actual run that the store does not have."""
    if actual is None:
        return []
    return [
        f"{kind} {version} is not in the store"
        for kind, required, present in _edges(expected, actual)
        for version in sorted(present - required)
    ]


def _edges(
    expected: ExpectedRun, actual: ActualRun
) -> Iterator[tuple[str, Set[ArtifactVersion], Set[ArtifactVersion]]]:
    yield "input", set(expected.inputs), actual.inputs
    yield "output", set(expected.outputs), actual.outputs


def _key(edges: tuple[Edge, ...], artifact: Id) -> str:
    return next(edge.key for edge in edges if edge.artifact == artifact)
