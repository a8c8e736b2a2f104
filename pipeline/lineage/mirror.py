"""Copies the executions of a metadata store into a Weights & Biases project, in order and once."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Iterable

from pipeline.lineage.cursor import Cursor
from pipeline.lineage.expected import ArtifactVersion, ExpectedRun, ExpectedRuns, missing_parts
from pipeline.lineage.lease import hold_lease
from pipeline.lineage.naming import Naming
from pipeline.lineage.wandb_project import WandbError, WandbProject, first_line
from pipeline.metadata.graph import FINISHED, Artifact, Execution, Id, MetadataSource, load

_CHUNK = 20
"""Number of executions that are read, written and verified together."""
_RESTART_INTERVAL = 100
"""Number of executions after which W&B's service is restarted to free its memory."""
_RETRY_DELAYS_S = (0.5, 1, 2)
"""Seconds to wait for a server whose reads lag behind its writes."""
_MAX_FAILURES = 2
"""Number of failures in a row after which the server is considered unusable."""


@dataclasses.dataclass
class MirrorResult:
    """The outcome of one pass of the mirror."""

    written: int = 0
    """Number of executions that were written to W&B and verified."""
    waiting: int = 0
    """Number of executions that are running, or use an output of a running one."""
    rejected: list[str] = dataclasses.field(default_factory=list)
    """Executions that W&B rejected, and why; later passes retry them after the new ones."""


def mirror(
    source: MetadataSource,
    project: WandbProject,
    seconds: float,
    run: str | None = None,
    again: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    warn: Callable[[str], None] = lambda text: None,
) -> MirrorResult:
    """Copies new executions into the project.

    Args:
        source: The metadata store.
        project: The W&B project.
        seconds: Time limit of this process; the lease of the project lasts as long.
        run: Name of a pipeline run to mirror with its ancestry; None mirrors all new executions.
        again: Whether to compare all executions, not only new ones.
        progress: Called with the number of completed and of all executions.
        warn: Called with each problem that does not end the pass.

    Raises:
        WandbError: The server is unusable or rejects everything.
        LeaseError: Another mirror of the same store and project is running.
    """
    if not (run or again or Cursor(source, str(project)).pending()):
        return MirrorResult()
    with hold_lease(source, str(project), seconds, seconds / 2):
        # Read after the lease was acquired: another mirror may have moved the cursor.
        cursor = Cursor(source, str(project))
        if again:
            cursor.reset()
        pending = dict.fromkeys(source.run_ids(run), 0) if run else cursor.pending()
        ids = list(pending)
        copier = _Copier(source, project, lambda done: progress(done, len(ids)), warn)
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            copier.copy(chunk)
            if run is None:
                seen = {id: pending[id] for id in chunk if id not in copier.skipped}
                cursor.advance(seen, copier.failed)
            if copier.failures >= _MAX_FAILURES:
                raise WandbError(copier.result.rejected[0])
        return copier.result


def _identity(source: MetadataSource) -> str:
    """Returns the identity of the store; the first call creates it."""
    if source.note("identity") is None:
        source.create_note("identity", secrets.token_hex(16))
    identity = source.note("identity")
    assert identity is not None  # created here or by a concurrent process
    return identity


class _InputRunningError(Exception):
    """The execution that produces an input is still running."""


class _InputRejectedError(Exception):
    """W&B rejected the execution that produces an input."""


class _Copier:
    """Copies executions, each after the producers of its inputs."""

    def __init__(
        self,
        source: MetadataSource,
        project: WandbProject,
        progress: Callable[[int], None],
        warn: Callable[[str], None],
    ):
        self._source = source
        self._project = project
        self._progress = progress
        self._warn = warn
        self._names = Naming(_identity(source))
        self._known: set[ArtifactVersion] = set()
        self._written: list[tuple[Execution, ExpectedRun]] = []
        self._done = 0
        self._written_at_restart = 0
        self.result = MirrorResult()
        self.skipped: set[Id] = set()
        """Executions that are running or come after the end of the pass; they stay new."""
        self.failed: set[Id] = set()
        """Executions that could not be copied; they are retried."""
        self.failures = 0
        """Number of executions rejected in a row."""

    def copy(self, ids: list[Id]) -> None:
        """Copies executions and verifies them."""
        graph = load(self._source, ids)
        runs = ExpectedRuns(graph, self._source, self._names)
        self._written.clear()
        for id in ids:
            if self.failures >= _MAX_FAILURES:
                self.skipped.add(id)
            elif id in graph.executions:
                self._try_copy(graph.executions[id], runs)
            self._done += 1
            self._progress(self._done)
        self._verify()

    def _try_copy(self, execution: Execution, runs: ExpectedRuns) -> None:
        if execution.state not in FINISHED:
            self.skipped.add(execution.id)
            self.result.waiting += 1
            return
        try:
            self._copy(execution, runs)
        except _InputRunningError:
            self.failed.add(execution.id)
            self.result.waiting += 1
        except _InputRejectedError as error:
            self._reject(execution, str(error))
        except Exception as error:
            # Raises if the server is the cause rather than this execution.
            self._project.probe()
            self._reject(execution, first_line(error))
            self.failures += 1
        else:
            self.failures = 0

    def _copy(self, execution: Execution, runs: ExpectedRuns) -> None:
        expected = runs.of_execution(execution)
        incomplete = bool(missing_parts(expected, self._project.read_run(expected.run_id)))
        for version, artifact in expected.inputs.items():
            # An imported artifact has a run of its own, which no execution would complete.
            if incomplete or runs.producer(artifact.id) is None:
                self._ensure_version(version, artifact, runs)
        if incomplete:
            self._project.write_run(expected, self._names)
            self._written.append((execution, expected))
        self._remember(expected.outputs)

    def _ensure_version(
        self, version: ArtifactVersion, artifact: Artifact, runs: ExpectedRuns
    ) -> None:
        """Copies the producer of an input, if W&B does not have the input."""
        if version in self._known:
            return
        producer = runs.producer(artifact.id)
        if producer is None:
            imported = runs.of_imported(artifact)
            if missing_parts(imported, self._project.read_run(imported.run_id)):
                self._project.write_run(imported, self._names)
        elif not self._project.has_version(version):
            if producer.state not in FINISHED:
                raise _InputRunningError
            if producer.id in self.failed:
                raise _InputRejectedError(f"uses an output of execution {producer.id}")
            graph = load(self._source, [producer.id])
            self._copy(producer, ExpectedRuns(graph, self._source, self._names))
        self._remember([version])

    def _verify(self) -> None:
        """Reads back the written runs; incomplete ones are rejected."""
        incomplete = self._missing_parts(self._written)
        for delay in _RETRY_DELAYS_S:
            if incomplete:
                time.sleep(delay)
                retried = [pair for pair in self._written if pair[0].id in incomplete]
                incomplete = self._missing_parts(retried)
        for execution, _ in self._written:
            if execution.id in incomplete:
                problems = "; ".join(incomplete[execution.id])
                self._reject(execution, f"was sent but is incomplete in W&B: {problems}")
        self.result.written += len(self._written) - len(incomplete)
        if self.result.written - self._written_at_restart >= _RESTART_INTERVAL:
            self._written_at_restart = self.result.written
            self._project.restart_service()

    def _missing_parts(self, written: list[tuple[Execution, ExpectedRun]]) -> dict[Id, list[str]]:
        found = {
            execution.id: missing_parts(expected, self._project.read_run(expected.run_id))
            for execution, expected in written
        }
        return {id: problems for id, problems in found.items() if problems}

    def _reject(self, execution: Execution, why: str) -> None:
        self.failed.add(execution.id)
        self.result.rejected.append(f"execution {execution.id} ({execution.node}): {why}")
        self._warn(self.result.rejected[-1])

    def _remember(self, versions: Iterable[ArtifactVersion]) -> None:
        if len(self._known) > 10_000:
            self._known.clear()
        self._known.update(versions)
