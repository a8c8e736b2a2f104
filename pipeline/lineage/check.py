"""Compares a metadata store with its copy in Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.lineage.expected import Expectations, Expected, excess, lacking
from pipeline.lineage.naming import Naming
from pipeline.lineage.target import Target
from pipeline.metadata.graph import FINISHED, Graph, MetadataSource, load

_CHUNK = 20


def check(source: MetadataSource, target: Target, run: str | None = None) -> Iterator[str]:
    """Yields each difference in words; nothing where both agree. Writes to neither.

    Args:
        source: the store.
        target: the project.
        run: only this pipeline run; None for the whole store.
    """
    store = source.note("identity")
    if store is None:
        yield "nothing of this store was mirrored yet"
        return
    names = Naming(store)
    ids = source.run_ids(run) if run else [id for _, id in source.updates(None)]
    run_ids = set()
    for start in range(0, len(ids), _CHUNK):
        graph = load(source, ids[start : start + _CHUNK])
        expectations = Expectations(graph, source, names)
        for what, expected in _expected(graph, expectations):
            if expected.run_id in run_ids:
                continue
            run_ids.add(expected.run_id)
            seen = target.see(expected.run_id)
            for problem in (*lacking(expected, seen), *excess(expected, seen)):
                yield f"{what}, {expected.run_id}): {problem}"
    if run is None:
        for extra in target.run_ids(names.run_prefix):
            if extra not in run_ids:
                yield f"run {extra} is not in the store"


def _expected(graph: Graph, expectations: Expectations) -> Iterator[tuple[str, Expected]]:
    for execution in graph.executions.values():
        if execution.state not in FINISHED:
            continue
        expected = expectations.of(execution)
        yield f"execution {execution.id} ({execution.node}", expected
        for artifact in expected.uses.values():
            if expectations.producer(artifact.id) is None:
                yield f"artifact {artifact.id} ({artifact.type}", expectations.outside(artifact)
