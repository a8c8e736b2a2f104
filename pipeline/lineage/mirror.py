"""Copies what a metadata store recorded into a Weights & Biases project, in order and once."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterable, Iterator

from pipeline.lineage import naming
from pipeline.lineage.cursor import Cursor
from pipeline.lineage.expected import Expectations, Expected, Version, lacking
from pipeline.lineage.graph import FINISHED, Artifact, Execution, Id, Source, load
from pipeline.lineage.lease import exclusive
from pipeline.lineage.target import Target, TargetError

_CHUNK = 20
"""Executions that are read, written and confirmed together."""


_RENEWAL = 100
"""Executions after which W&B's service process is started afresh, so that memory stays flat."""


@dataclasses.dataclass
class Pass:
    """What one pass of the mirror did."""

    written: int = 0
    """Executions that were made or completed in W&B, and confirmed."""
    waiting: int = 0
    """Executions that are running still."""


def identity(source: Source) -> str:
    """The identity of the store, made on the first call and kept in it."""
    if source.note("identity") is None:
        source.create_note("identity", secrets.token_hex(16))
    return source.note("identity")


def mirror(
    source: Source,
    target: Target,
    seconds: float,
    run: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pass:
    """Brings the project up to date with the store.

    Args:
      source: the store.
      target: the project.
      seconds: time after which this process will have ended; the project is leased so long.
      run: only this pipeline run and what it was made from; None for everything that is new.
      progress: called with the executions done and to do.

    Raises:
      TargetError: something was sent and is not there when read back.
      LeaseError: another mirror of the same store and project is at work.
    """
    cursor = Cursor(source, str(target))
    if run is None and not _pending(source, cursor):
        return Pass()
    with exclusive(source, f"{target.base_url}/{target.project}", seconds, seconds / 2):
        if run is not None:
            return _Copier(source, target).copy(source.run_ids(run), progress)
        cursor = Cursor(source, str(target))
        copier = _Copier(source, target)
        pending = _pending(source, cursor)
        for start in range(0, len(pending), _CHUNK):
            part = pending[start : start + _CHUNK]
            running = copier.waiting_ids
            copier.copy([id for _, id in part], progress, start, len(pending))
            cursor.advance([pair for pair in part if pair[1] not in running])
        return copier.result


def _pending(source: Source, cursor: Cursor) -> list[tuple[int, Id]]:
    return [(time, id) for time, id in source.updates(cursor.since) if cursor.is_new(time, id)]


class _Copier:
    """Copies executions, each after those that made its inputs."""

    def __init__(self, source: Source, target: Target):
        self._source = source
        self._target = target
        self._naming = naming.Naming(identity(source))
        self._known: set[Version] = set()
        self.result = Pass()
        self.waiting_ids: set[Id] = set()

    def copy(self, ids, progress, done: int = 0, total: int | None = None) -> Pass:
        """Copies some executions and reads them back."""
        written: list[tuple[Execution, Expected]] = []
        ids = list(ids)
        for chunk in _chunks(ids):
            written.clear()
            graph = load(self._source, chunk)
            expectations = Expectations(graph, self._source, self._naming)
            for execution in (graph.executions[id] for id in chunk if id in graph.executions):
                if execution.state in FINISHED:
                    self._copy(execution, expectations, written)
                else:
                    self.waiting_ids.add(execution.id)
                    self.result.waiting += 1
                done += 1
                progress(done, total or len(ids))
            self._confirm(written)
        return self.result

    def _copy(self, execution: Execution, expectations: Expectations, written: list) -> None:
        expected = expectations.of(execution)
        if not lacking(expected, self._target.see(expected.run_id)):
            self._remember(expected.logs)
            return
        for version, artifact in expected.uses.items():
            self._supply(version, artifact, expectations, written)
        self._target.write(
            expected.run_id,
            fields=self._fields(execution, expectations),
            uses=list(expected.uses),
            logs={v: (a, self._naming.identity(a)) for v, a in expected.logs.items()},
            failed=expected.state == "failed",
        )
        self._remember(expected.logs)
        written.append((execution, expected))

    def _supply(
        self, version: Version, artifact: Artifact, expectations: Expectations, written: list
    ) -> None:
        """Sees to it that an input is there before it is used."""
        if version in self._known or self._target.has(version):
            self._remember([version])
            return
        producer = expectations.producer(artifact.id)
        if producer is not None:
            graph = load(self._source, [producer.id])
            self._copy(producer, Expectations(graph, self._source, self._naming), written)
            return
        self._target.write(
            self._naming.outside_run_id(artifact),
            fields={"job_type": "outside", "name": artifact.type},
            uses=[],
            logs={version: (artifact, self._naming.identity(artifact))},
        )
        self._remember([version])

    def _fields(self, execution: Execution, expectations: Expectations) -> dict:
        def name(artifact: Id) -> str:
            return str(expectations.version(artifact))

        facts = {
            "store": self._naming.store,
            "execution": execution.id,
            "name": execution.name,
            "type": execution.type,
            "state": execution.state,
            "created": execution.created,
            "updated": execution.updated,
            "contexts": [f"{kind}/{context}" for kind, context in execution.contexts],
            "inputs": naming.edges_by_key(execution.inputs, name),
            "outputs": naming.edges_by_key(execution.outputs, name),
            "properties": naming.plain(execution.properties),
        }
        return {
            "group": execution.run[:128] or None,
            "job_type": execution.node[:64],
            "name": execution.node[:128],
            "tags": naming.tags(execution),
            "config": {"mlmd": facts},
        }

    def _confirm(self, written: list[tuple[Execution, Expected]]) -> None:
        for execution, expected in written:
            if problems := lacking(expected, self._target.see(expected.run_id)):
                raise TargetError(
                    f"execution {execution.id} ({execution.node}) was sent and did not arrive: "
                    + "; ".join(problems)
                )
            self.result.written += 1
            if self.result.written % _RENEWAL == 0:
                self._target.renew()

    def _remember(self, versions: Iterable[Version]) -> None:
        if len(self._known) > 10_000:
            self._known.clear()
        self._known.update(versions)


def _chunks(ids: list[Id]) -> Iterator[list[Id]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
