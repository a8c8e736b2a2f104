"""Compares a metadata store with its copy in Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.lineage.expected import ExpectedRun, ExpectedRuns, missing_parts, unexpected_edges
from pipeline.lineage.naming import Naming
from pipeline.lineage.wandb_project import WandbProject
from pipeline.metadata.graph import FINISHED, Graph, MetadataSource, load

_CHUNK = 20


def check(source: MetadataSource, project: WandbProject, run: str | None = None) -> Iterator[str]:
    """Yields a description of each difference. Writes to neither side.

    Args:
        source: The metadata store.
        project: The W&B project.
        run: Name of a pipeline run; None compares the whole store.
    """
    store = source.note("identity")
    if store is None:
        yield "nothing of this store was mirrored yet"
        return
    names = Naming(store)
    ids = source.run_ids(run) if run else [id for _, id in source.updates(None)]
    run_ids: set[str] = set()
    for start in range(0, len(ids), _CHUNK):
        graph = load(source, ids[start : start + _CHUNK])
        for subject, expected in _expected_runs(graph, ExpectedRuns(graph, source, names)):
            if expected.run_id in run_ids:
                continue
            run_ids.add(expected.run_id)
            actual = project.read_run(expected.run_id)
            problems = missing_parts(expected, actual) + unexpected_edges(expected, actual)
            for problem in problems:
                yield f"{subject}, {expected.run_id}): {problem}"
    if run is None:
        for extra in project.run_ids(names.run_prefix):
            if extra not in run_ids:
                yield f"run {extra} is not in the store"


def _expected_runs(graph: Graph, runs: ExpectedRuns) -> Iterator[tuple[str, ExpectedRun]]:
    for execution in graph.executions.values():
        if execution.state not in FINISHED:
            continue
        expected = runs.of_execution(execution)
        yield f"execution {execution.id} ({execution.node}", expected
        for artifact in expected.inputs.values():
            if runs.producer(artifact.id) is None:
                yield f"artifact {artifact.id} ({artifact.type}", runs.of_imported(artifact)
