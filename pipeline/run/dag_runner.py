"""The BeamDagRunner of a local run: reports each component as it ends, fetches nothing."""

import dataclasses
import time
from collections.abc import Callable

from apache_beam.options.pipeline_options import StandardOptions
from ml_metadata import MetadataStore
from tfx.dsl.compiler import constants
from tfx.orchestration.beam import beam_dag_runner
from tfx.orchestration.portable import runtime_parameter_utils

from pipeline.cloud.dataflow import explained
from pipeline.metadata.reader import ExecutionRecord, run_executions


class Interrupted(Exception):
    """The user stopped the run."""


@dataclasses.dataclass(frozen=True)
class NodeReport:
    """How one node of the pipeline ended."""

    node_id: str
    seconds: float
    execution: ExecutionRecord | None
    """What ML Metadata holds of it; None where the node failed before it was recorded."""
    error: Exception | None = None

    @property
    def state(self) -> str:
        """`complete`, `cached` or `failed`."""
        if self.error or self.execution is None:
            return "failed"
        return self.execution.state


# Beam pickles the DoFns below, by reference; the run's listener is therefore kept in the module.
_listener: Callable[[NodeReport], None] | None = None


class _ReportingNode(beam_dag_runner.PipelineNodeAsDoFn):
    def _run_node(self):
        started = time.monotonic()
        error = None
        try:
            super()._run_node()
        except KeyboardInterrupt:  # Beam would make an error of it that says nothing
            error = Interrupted(
                "interrupted; the same command resumes from the last completed step"
            )
        except Exception as raised:
            error = explained(raised)
        _listener(
            NodeReport(self._node_id, time.monotonic() - started, self._last_execution(), error)
        )
        if error:
            raise error

    def _last_execution(self) -> ExecutionRecord | None:
        run_id = self._pipeline_runtime_spec.pipeline_run_id.field_value.string_value
        store = MetadataStore(self._mlmd_connection_config)
        executions = run_executions(store, self._pipeline_info.id, run_id)
        return next((e for e in reversed(executions) if e.node_id == self._node_id), None)


class LocalDagRunner(beam_dag_runner.BeamDagRunner):
    """Runs a pipeline in this process under a given run id, and tells a listener of every node."""

    _PIPELINE_NODE_DO_FN_CLS = _ReportingNode

    def __new__(cls, *_):
        """BeamDagRunner's own `__new__` takes the arguments of its legacy form."""
        return super().__new__(cls)

    def __init__(self, run_id: str, listener: Callable[[NodeReport], None]):
        self._run_id = run_id
        self._listener = listener

    def run_with_ir(self, pipeline, run_options=None):
        """Runs the compiled pipeline; raises what a failing component raised."""
        global _listener
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        # BeamDagRunner orchestrates with Beam's default runner, which since Beam 2.68 first tries
        # to download Prism.
        default_runner = StandardOptions.DEFAULT_RUNNER
        StandardOptions.DEFAULT_RUNNER = "FnApiRunner"
        _listener = self._listener
        try:
            super().run_with_ir(pipeline, run_options)
        finally:
            StandardOptions.DEFAULT_RUNNER = default_runner
            _listener = None
