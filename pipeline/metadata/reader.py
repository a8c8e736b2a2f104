"""Reads what TFX recorded of a run in ML Metadata. Imports neither TFX nor TensorFlow."""

import dataclasses

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

STATES = {
    mlmd.Execution.COMPLETE: "complete",
    mlmd.Execution.CACHED: "cached",
    mlmd.Execution.FAILED: "failed",
    mlmd.Execution.CANCELED: "canceled",
    mlmd.Execution.RUNNING: "running",
    mlmd.Execution.NEW: "running",
}
_OUTPUT_EVENTS = (mlmd.Event.OUTPUT, mlmd.Event.INTERNAL_OUTPUT)


@dataclasses.dataclass(frozen=True)
class ArtifactRecord:
    """One artifact: its MLMD id, URI and properties (custom ones included)."""

    id: int
    uri: str
    properties: dict[str, object]


@dataclasses.dataclass(frozen=True)
class ExecutionRecord:
    """One execution of one node within a run."""

    id: int
    node_id: str
    state: str
    """`complete`, `cached`, `failed`, `canceled` or `running`."""
    outputs: dict[str, list[ArtifactRecord]]
    """Output artifacts by output key."""


def sqlite_store(path: str) -> MetadataStore:
    """The store in the SQLite file `path`, made where there is none."""
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = path
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return MetadataStore(config)


def run_executions(store: MetadataStore, pipeline: str, run_id: str) -> list[ExecutionRecord]:
    """Executions of one run in the order of their registration; empty for an unknown run."""
    run = store.get_context_by_type_and_name("pipeline_run", run_id)
    if run is None:
        return []
    executions = sorted(store.get_executions_by_context(run.id), key=lambda e: e.id)
    return [_read_execution(store, pipeline, execution) for execution in executions]


def _read_execution(store, pipeline: str, execution) -> ExecutionRecord:
    contexts = store.get_contexts_by_execution(execution.id)
    prefix = f"{pipeline}."
    node_id = next(c.name.removeprefix(prefix) for c in contexts if c.type == "node")
    keys = {
        event.artifact_id: event.path.steps[0].key
        for event in store.get_events_by_execution_ids([execution.id])
        if event.type in _OUTPUT_EVENTS
    }
    outputs: dict[str, list[ArtifactRecord]] = {}
    for artifact in store.get_artifacts_by_id(list(keys)):
        outputs.setdefault(keys[artifact.id], []).append(
            ArtifactRecord(artifact.id, artifact.uri, _properties(artifact))
        )
    state = STATES.get(execution.last_known_state, "running")
    return ExecutionRecord(execution.id, node_id, state, outputs)


def _properties(artifact) -> dict[str, object]:
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in [*artifact.properties.items(), *artifact.custom_properties.items()]
        if value.WhichOneof("value")
    }
