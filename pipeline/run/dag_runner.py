"""TFX's BeamDagRunner for local runs: reports each component when it ends."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from apache_beam.options.pipeline_options import StandardOptions
from ml_metadata import MetadataStore
from tfx.dsl.compiler import constants
from tfx.orchestration.beam import beam_dag_runner
from tfx.orchestration.portable import runtime_parameter_utils

from pipeline.cloud.dataflow import translate_error
from pipeline.metadata.reader import ExecutionRecord, run_executions
from pipeline.run.console import INTERRUPTED


class Interrupted(Exception):
    """The user interrupted the run."""


@dataclasses.dataclass(frozen=True)
class NodeReport:
    """The result of one node of the pipeline."""

    node_id: str
    seconds: float
    """Wall time of the node in seconds."""
    execution: ExecutionRecord | None
    """The execution in ML Metadata; None if the node failed before it was registered."""
    error: Exception | None = None

    @property
    def state(self) -> str:
        """`complete`, `cached` or `failed`."""
        if self.error or self.execution is None:
            return "failed"
        return self.execution.state


# Kept in the module, as Beam pickles the DoFn below by reference.
_listener: Callable[[NodeReport], None] | None = None


class _ReportingNode(beam_dag_runner.PipelineNodeAsDoFn):
    def _run_node(self) -> None:
        started = time.monotonic()
        error: Exception | None = None
        try:
            super()._run_node()
        except KeyboardInterrupt:  # Beam would replace it by an error without a message
            error = Interrupted(INTERRUPTED)
        except Exception as raised:
            error = translate_error(raised)
        seconds = time.monotonic() - started
        if _listener:
            _listener(NodeReport(self._node_id, seconds, self._last_execution(), error))
        if error:
            raise error

    def _last_execution(self) -> ExecutionRecord | None:
        run_id = self._pipeline_runtime_spec.pipeline_run_id.field_value.string_value
        store = MetadataStore(self._mlmd_connection_config)
        executions = run_executions(store, run_id)
        return next((e for e in reversed(executions) if e.node_id == self._node_id), None)


class LocalDagRunner(beam_dag_runner.BeamDagRunner):
    """Runs a pipeline in this process.

    Args:
        run_id: name of the pipeline run in ML Metadata.
        listener: called with the report of each node when the node ends.

    Example:
        >>> LocalDagRunner("20260101-120000", print).run(create_pipeline(config))
    """

    _PIPELINE_NODE_DO_FN_CLS = _ReportingNode

    def __new__(cls, *_: Any) -> "LocalDagRunner":
        """Ignores the arguments; BeamDagRunner's `__new__` expects those of its legacy API."""
        return super().__new__(cls)

    def __init__(self, run_id: str, listener: Callable[[NodeReport], None]):
        self._run_id = run_id
        self._listener = listener

    def run_with_ir(self, pipeline: Any, run_options: Any = None) -> None:
        """Runs the compiled pipeline; raises the error of a failed component."""
        global _listener
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        # BeamDagRunner uses Beam's default runner, which tries to download Prism since Beam 2.68.
        default_runner = StandardOptions.DEFAULT_RUNNER
        StandardOptions.DEFAULT_RUNNER = "FnApiRunner"
        _listener = self._listener
        try:
            super().run_with_ir(pipeline, run_options)
        finally:
            StandardOptions.DEFAULT_RUNNER = default_runner
            _listener = None
