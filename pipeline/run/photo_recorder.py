"""Records the photos and their conversion in ML Metadata, as the start of the lineage.

PhotoSet ─ PhotoScan ▶ ImageCsv ─ Convert ▶ TFRecords ─ ImportExampleGen ▶ …
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.storage import files

if TYPE_CHECKING:
    from pipeline.config.schema import RecordsConfig
    from pipeline.run.ingest import DataSource, Ingested

NODES = ("PhotoScan", "Convert")
"""Node ids of the recorded executions, which precede the first component."""
_FIRST = "ImportExampleGen"
_RECORDS = "tfrecords"
_DIGEST_LENGTH = 12


@dataclasses.dataclass(frozen=True)
class PhotoRecorder:
    """Records the executions that precede the first component of a run.

    Args:
        store: the metadata store of the run.
        pipeline: name of the pipeline.
        run_id: id of the run.
    """

    store: MetadataStore
    pipeline: str
    run_id: str

    def record(self, source: DataSource, ingested: Ingested) -> None:
        """Records the conversion of the photos; nothing for a source of TFRecords."""
        if ingested.image_csv is None:
            return
        records = ingested.records
        table = self._table(ingested.image_csv)
        state = mlmd.Execution.CACHED if ingested.cached else mlmd.Execution.COMPLETE
        if source.kind == "images":
            digest = Path(records.path).name
            photos = self._artifact(
                "PhotoSet", str(Path(source.path).resolve()), digest, {"fingerprint": digest}
            )
            edges = [self._edge(photos, "photos"), self._edge(table, "image_csv", output=True)]
            self._execute("PhotoScan", state, edges)
            table = self._table(ingested.image_csv)
        edges = [
            self._edge(table, "image_csv"),
            self._edge(self._records(records), _RECORDS, output=True),
        ]
        self._execute("Convert", state, edges, {"discarded": len(ingested.discarded)})

    def link(self, ingested: Ingested) -> None:
        """Adds the records to the inputs of the first component, once that is recorded."""
        context = self.store.get_context_by_type_and_name("pipeline_run", self.run_id)
        node = self.store.get_context_by_type_and_name("node", f"{self.pipeline}.{_FIRST}")
        if context is None or node is None:
            return
        of_node = {e.id for e in self.store.get_executions_by_context(node.id)}
        for execution in self.store.get_executions_by_context(context.id):
            if execution.id in of_node:
                edge = self._edge(self._records(ingested.records), _RECORDS)
                # Updates the time too, so that a mirror reads the execution again.
                self.store.put_execution(execution, [edge], [], force_update_time=True)

    def _table(self, path: str) -> mlmd.Artifact:
        """Returns the artifact of the Image CSV; other rows under the same path are another one."""
        digest = files.sha256(path)
        return self._artifact("ImageCsv", path, digest[:_DIGEST_LENGTH], {"sha256": digest})

    def _records(self, records: RecordsConfig) -> mlmd.Artifact:
        properties = {"counts": json.dumps(records.counts), "labels": json.dumps(records.labels)}
        if records.digest:
            properties["fingerprint"] = records.digest
        return self._artifact("TFRecords", records.path, records.digest or "", properties)

    def _artifact(
        self, kind: str, uri: str, digest: str, properties: dict[str, Any]
    ) -> mlmd.Artifact:
        """Returns the artifact of this URI and content; with its id if the store has it."""
        # File names can contain bytes that are not UTF-8; ML Metadata stores text only.
        uri = os.fsencode(uri).decode("utf-8", "backslashreplace")
        name = f"{uri}@{digest}" if digest else uri
        if found := self.store.get_artifact_by_type_and_name(kind, name):
            return found
        type_id = self.store.put_artifact_type(mlmd.ArtifactType(name=kind))
        artifact = mlmd.Artifact(type_id=type_id, uri=uri, name=name, state=mlmd.Artifact.LIVE)
        _set_properties(artifact, properties)
        return artifact

    @staticmethod
    def _edge(
        artifact: mlmd.Artifact, key: str, output: bool = False
    ) -> tuple[mlmd.Artifact, mlmd.Event]:
        event = mlmd.Event(type=mlmd.Event.OUTPUT if output else mlmd.Event.INPUT)
        event.path.steps.add().key = key
        event.path.steps.add().index = 0
        return artifact, event

    def _execute(
        self,
        node: str,
        state: int,
        edges: list[tuple[mlmd.Artifact, mlmd.Event]],
        properties: dict[str, Any] | None = None,
    ) -> None:
        type_id = self.store.put_execution_type(mlmd.ExecutionType(name=f"pawprint.data.{node}"))
        execution = mlmd.Execution(
            type_id=type_id, name=f"{self.run_id}.{node}", last_known_state=state
        )
        _set_properties(execution, properties or {})
        names = {
            "pipeline": self.pipeline,
            "pipeline_run": self.run_id,
            "node": f"{self.pipeline}.{node}",
        }
        contexts = []
        for kind, name in names.items():
            context_type = self.store.put_context_type(mlmd.ContextType(name=kind))
            contexts.append(mlmd.Context(type_id=context_type, name=name))
        self.store.put_execution(execution, edges, contexts, reuse_context_if_already_exist=True)


def _set_properties(entity: mlmd.Artifact | mlmd.Execution, properties: dict[str, Any]) -> None:
    for name, value in properties.items():
        kind = "int_value" if isinstance(value, int) else "string_value"
        setattr(entity.custom_properties[name], kind, value)
