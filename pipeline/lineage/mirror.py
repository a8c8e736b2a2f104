"""Copies what a metadata store recorded into a Weights & Biases project, in order and once."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Iterable

from pipeline.lineage.cursor import Cursor
from pipeline.lineage.expected import Expectations, Expected, Version, lacking
from pipeline.lineage.lease import exclusive
from pipeline.lineage.naming import Naming
from pipeline.lineage.target import Target, TargetError, reason
from pipeline.metadata.graph import FINISHED, Artifact, Execution, Id, MetadataSource, load

_CHUNK = 20
"""Executions that are read, written and confirmed together."""
_RENEWAL = 100
"""Executions after which W&B's service process is started afresh, so that memory stays flat."""
_PAUSES = (0.5, 1, 2)
"""Seconds to wait for a server that shows a little later what it has taken."""
_PATIENCE = 2
"""Executions in a row whose failure is taken for the server's, not for theirs."""


@dataclasses.dataclass
class Pass:
    """What one pass of the mirror did."""

    written: int = 0
    """Executions that were made or completed in W&B, and confirmed."""
    waiting: int = 0
    """Executions that are running still, or take in what a running one made."""
    refused: list[str] = dataclasses.field(default_factory=list)
    """Executions that W&B does not take, and why; later passes try them again, after the others."""


def identity(source: MetadataSource) -> str:
    """The identity of the store, made on the first call and kept in it."""
    if source.note("identity") is None:
        source.create_note("identity", secrets.token_hex(16))
    return source.note("identity")


def mirror(
    source: MetadataSource,
    target: Target,
    seconds: float,
    run: str | None = None,
    again: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    trouble: Callable[[str], None] = lambda text: None,
) -> Pass:
    """Brings the project up to date with the store.

    Args:
        source: the store.
        target: the project.
        seconds: time after which this process will have ended; the project is leased so long.
        run: only this pipeline run and what it was made from; None for everything that is new.
        again: looks at everything, not only at what is new.
        progress: called with the executions done and to do.
        trouble: called with what went wrong while the pass goes on.

    Raises:
        TargetError: the server cannot be used, or takes nothing.
        LeaseError: another mirror of the same store and project is at work.
    """
    if not (run or again or Cursor(source, str(target)).pending(source)):
        return Pass()
    with exclusive(source, str(target), seconds, seconds / 2):
        # Read again: another mirror may have been at work until now.
        cursor = Cursor(source, str(target))
        if again:
            cursor.forget()
        pending = dict.fromkeys(source.run_ids(run), 0) if run else cursor.pending(source)
        copier = _Copier(source, target, trouble)
        ids = list(pending)
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            copier.copy(part, lambda done, start=start: progress(start + done, len(ids)))
            if run is None:
                seen = {id: pending[id] for id in part if id not in copier.later}
                cursor.advance(seen, copier.behind)
            if copier.failures >= _PATIENCE:
                raise TargetError(copier.result.refused[0])
        return copier.result


class _WaitsError(Exception):
    """An input is made by an execution that is running."""


class _InputError(Exception):
    """An input is made by an execution that W&B refused."""


class _Copier:
    """Copies executions, each after those that made its inputs."""

    def __init__(self, source: MetadataSource, target: Target, trouble: Callable[[str], None]):
        self._source = source
        self._target = target
        self._trouble = trouble
        self._names = Naming(identity(source))
        self._known: set[Version] = set()
        self._written: list[tuple[Execution, Expected]] = []
        self._renewed = 0
        self.result = Pass()
        self.later: set[Id] = set()
        """Not looked at, for they are running or the pass ended before: they stay new."""
        self.behind: set[Id] = set()
        """Looked at, and not there."""
        self.failures = 0
        """Executions in a row that were refused."""

    def copy(self, ids: list[Id], progress: Callable[[int], None]) -> None:
        """Copies some executions and reads them back."""
        graph = load(self._source, ids)
        expectations = Expectations(graph, self._source, self._names)
        self._written.clear()
        for done, id in enumerate(ids, start=1):
            if self.failures >= _PATIENCE:
                self.later.add(id)
            elif id in graph.executions:
                self._try(graph.executions[id], expectations)
            progress(done)
        self._confirm()

    def _try(self, execution: Execution, expectations: Expectations) -> None:
        if execution.state not in FINISHED:
            self.later.add(execution.id)
            self.result.waiting += 1
            return
        try:
            self._copy(execution, expectations)
        except _WaitsError:
            self.behind.add(execution.id)
            self.result.waiting += 1
        except _InputError as error:
            self._refuse(execution, str(error))
        except Exception as error:
            # Raises where it is not this execution's fault.
            self._target.probe()
            self._refuse(execution, reason(error))
            self.failures += 1
        else:
            self.failures = 0

    def _copy(self, execution: Execution, expectations: Expectations) -> None:
        expected = expectations.of(execution)
        lacks = lacking(expected, self._target.see(expected.run_id))
        for version, artifact in expected.uses.items():
            # What came from outside has a run that belongs to no execution of its own.
            if lacks or expectations.producer(artifact.id) is None:
                self._supply(version, artifact, expectations)
        if lacks:
            self._target.write(expected, self._names)
            self._written.append((execution, expected))
        self._remember(expected.logs)

    def _supply(self, version: Version, artifact: Artifact, expectations: Expectations) -> None:
        """Sees to it that an input is there before it is used."""
        if version in self._known:
            return
        producer = expectations.producer(artifact.id)
        if producer is None:
            outside = expectations.outside(artifact)
            if lacking(outside, self._target.see(outside.run_id)):
                self._target.write(outside, self._names)
        elif not self._target.has(version):
            if producer.state not in FINISHED:
                raise _WaitsError
            if producer.id in self.behind:
                raise _InputError(f"takes in what execution {producer.id} made")
            graph = load(self._source, [producer.id])
            self._copy(producer, Expectations(graph, self._source, self._names))
        self._remember([version])

    def _confirm(self) -> None:
        """Reads back what was written; what did not arrive is left behind."""
        lacks = self._lacks(self._written)
        for pause in _PAUSES:
            if lacks:
                time.sleep(pause)
                lacks = self._lacks([pair for pair in self._written if pair[0].id in lacks])
        for execution, _ in self._written:
            if execution.id in lacks:
                missing = "; ".join(lacks[execution.id])
                self._refuse(execution, f"was sent and did not arrive: {missing}")
        self.result.written += len(self._written) - len(lacks)
        if self.result.written - self._renewed >= _RENEWAL:
            self._renewed = self.result.written
            self._target.renew()

    def _lacks(self, written: list[tuple[Execution, Expected]]) -> dict[Id, list[str]]:
        found = {x.id: lacking(wanted, self._target.see(wanted.run_id)) for x, wanted in written}
        return {id: problems for id, problems in found.items() if problems}

    def _refuse(self, execution: Execution, why: str) -> None:
        self.behind.add(execution.id)
        self.result.refused.append(f"execution {execution.id} ({execution.node}): {why}")
        self._trouble(self.result.refused[-1])

    def _remember(self, versions: Iterable[Version]) -> None:
        if len(self._known) > 10_000:
            self._known.clear()
        self._known.update(versions)
