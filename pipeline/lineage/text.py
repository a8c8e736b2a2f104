"""Formats a graph as text: one line per execution, with its inputs and outputs below it."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.metadata.graph import Artifact, Edge, Execution, Graph, MetadataSource, of_run


def show_runs(source: MetadataSource) -> Iterator[str]:
    """Yields one line per pipeline run: name, pipeline and states."""
    for run in source.runs():
        executions = source.executions(source.run_ids(run))
        states = [e.state for e in executions]
        counted = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
        pipeline = next((e.pipeline for e in executions if e.pipeline), "")
        yield f"{run}  {pipeline}  {counted or 'nothing recorded'}"


def show_run(source: MetadataSource, run: str) -> Iterator[str]:
    """Yields the graph of one pipeline run."""
    graph = of_run(source, run)
    for execution in graph.executions.values():
        yield from _execution(execution, graph)


def _execution(execution: Execution, graph: Graph) -> Iterator[str]:
    seconds = (execution.updated - execution.created) / 1000
    yield f"{execution.node}  {execution.state}  {seconds:.1f} s  (execution {execution.id})"
    for arrow, edges in (("<-", execution.inputs), ("->", execution.outputs)):
        for edge in edges:
            yield f"  {arrow} {_edge(edge, graph)}"


def _edge(edge: Edge, graph: Graph) -> str:
    artifact: Artifact = graph.artifacts[edge.artifact]
    origin = "outside"
    if artifact.id in graph.producers:
        producer = graph.producers[artifact.id]
        found = graph.executions.get(producer)
        origin = found.node if found else f"execution {producer}"
    return f"{edge.key}: {artifact.type} {artifact.id} of {origin}  {artifact.uri}"
