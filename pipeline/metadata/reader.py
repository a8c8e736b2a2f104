"""Reads the executions of a run from ML Metadata. Imports neither TFX nor TensorFlow."""

import dataclasses

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.metadata.graph import Artifact, Id, of_run
from pipeline.metadata.mlmd_source import MlmdSource


@dataclasses.dataclass(frozen=True)
class ExecutionRecord:
    """One execution of one node in a run."""

    id: Id
    node_id: str
    state: str
    """`complete`, `cached`, `failed`, `canceled` or `running`."""
    outputs: dict[str, list[Artifact]]
    """Output artifacts by output key."""


def sqlite_store(path: str) -> MetadataStore:
    """Opens the store in a SQLite file; creates the file if it does not exist."""
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = path
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return MetadataStore(config)


def run_executions(store: MetadataStore, run_id: str) -> list[ExecutionRecord]:
    """Reads the executions of a run in the order of creation; [] for an unknown run.

    Example:
        >>> store = sqlite_store("runs/metadata.sqlite")
        >>> [execution.node_id for execution in run_executions(store, "20260101-120000")]
        ['PhotoScan', 'Convert', 'ImportExampleGen', 'StatisticsGen', ...]
    """
    graph = of_run(MlmdSource(store), run_id)
    return [
        ExecutionRecord(execution.id, execution.node, execution.state, graph.outputs(execution))
        for execution in graph.executions.values()
    ]
