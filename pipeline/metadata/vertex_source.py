"""Reads Vertex ML Metadata with Google's client."""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Iterable
from typing import Any

from google.api_core import exceptions
from google.auth import credentials as auth
from google.auth import exceptions as auth_exceptions
from google.cloud import aiplatform_v1 as vertex

from pipeline.metadata.graph import Artifact, Edge, Execution, Id, StoreError

_STATES = {
    vertex.Execution.State.COMPLETE: "complete",
    vertex.Execution.State.CACHED: "cached",
    vertex.Execution.State.FAILED: "failed",
    vertex.Execution.State.CANCELLED: "canceled",
}
_RUN = "system.PipelineRun"
_WHOLE_RUN = "system.DagExecution"
"""Schema of the additional execution that Vertex AI records for the pipeline run itself."""
_PAGE = 100
ENDPOINT = "VERTEX_METADATA_ENDPOINT"
"""Environment variable with an `http://` URL that replaces Google's endpoint in tests."""


class VertexSource:
    """Reads a metadata store of Vertex AI; implements `graph.MetadataSource`.

    A run is a context of type `system.PipelineRun`; the id of a node is the name of the task.
    """

    errors: tuple[type[Exception], ...] = (
        exceptions.GoogleAPIError,
        auth_exceptions.GoogleAuthError,
    )

    def __init__(self, client: vertex.MetadataServiceClient, parent: str, uri: str):
        """Reads the store `projects/P/locations/L/metadataStores/S`."""
        self.uri = uri
        self._client = client
        self._parent = parent
        self._contexts: dict[str, tuple[tuple[str, str], ...]] = {}

    @classmethod
    def of(cls, uri: str) -> VertexSource:
        """Connects to `vertex://PROJECT/LOCATION[/STORE]`.

        Raises:
            StoreError: the URI is invalid, or there are no credentials.
        """
        parts = uri.removeprefix("vertex://").strip("/").split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise StoreError(f"expected vertex://PROJECT/LOCATION[/STORE]. Received: {uri!r}")
        project, location, store = [*parts, "default"][:3]
        try:
            client = _client(location)
        except auth_exceptions.GoogleAuthError as error:
            raise StoreError(f"no credentials for {uri}: {error}") from None
        parent = f"projects/{project}/locations/{location}/metadataStores/{store}"
        return cls(client, parent, uri)

    def parse_id(self, text: str) -> Id:
        return text

    def updates(self, since: int | None) -> list[tuple[int, Id]]:
        request = vertex.ListExecutionsRequest(parent=self._parent, page_size=_PAGE)
        if since is not None:
            moment = datetime.datetime.fromtimestamp(since / 1000, datetime.timezone.utc)
            request.filter = f'update_time>="{moment.isoformat().replace("+00:00", "Z")}"'
        found = self._client.list_executions(request=request)
        return sorted(
            (_milliseconds(e.update_time), _id(e.name))
            for e in found
            if e.schema_title != _WHOLE_RUN
        )

    def run_ids(self, run: str) -> list[Id]:
        request = {"context": f"{self._parent}/contexts/{run}"}
        try:
            found = self._client.query_context_lineage_subgraph(request=request).executions
        except exceptions.NotFound:
            return []
        kept = sorted((e.create_time, e.name) for e in found if e.schema_title != _WHOLE_RUN)
        return [_id(name) for _, name in kept]

    def runs(self) -> list[str]:
        return [_id(context.name) for context in self._run_contexts()]

    def executions(self, ids: Iterable[Id]) -> list[Execution]:
        return [self._execution(f"{self._parent}/executions/{id}") for id in ids]

    def artifacts(self, ids: Iterable[Id]) -> list[Artifact]:
        return [
            Artifact(
                _id(a.name),
                a.schema_title.split(".")[-1],
                a.uri,
                a.state.name.lower(),
                a.display_name,
                _properties(a),
                _milliseconds(a.create_time),
            )
            for a in filter(None, map(self._artifact, ids))
        ]

    def producers(self, artifacts: Iterable[Id]) -> dict[Id, Id]:
        made: dict[Id, Id] = {}
        for id in artifacts:
            name = f"{self._parent}/artifacts/{id}"
            graph = self._client.query_artifact_lineage_subgraph(
                request={"artifact": name, "max_hops": 1}
            )
            outputs = [
                (event.event_time, _id(event.execution))
                for event in graph.events
                if event.type_ == vertex.Event.Type.OUTPUT and event.artifact == name
            ]
            if outputs:
                made[id] = min(outputs)[1]
        return made

    def note(self, name: str) -> str | None:
        try:
            context = self._client.get_context(name=self._note(name))
        except exceptions.NotFound:
            return None
        text: str = context.metadata["text"]
        return text

    def create_note(self, name: str, text: str) -> bool:
        try:
            self._client.create_context(
                parent=self._parent,
                context_id=_id(self._note(name)),
                context=vertex.Context(display_name=name[-128:], metadata={"text": text}),
            )
        except exceptions.Conflict:  # The base class of AlreadyExists, which gRPC raises.
            return False
        return True

    def write_note(self, name: str, text: str) -> None:
        if self.note(name) is None and self.create_note(name, text):
            return
        context = vertex.Context(name=self._note(name), metadata={"text": text})
        self._client.update_context(context=context, update_mask={"paths": ["metadata"]})

    def _note(self, name: str) -> str:
        return (
            f"{self._parent}/contexts/pawprint-lineage-{hashlib.sha256(name.encode()).hexdigest()}"
        )

    def _run_contexts(self) -> list[vertex.Context]:
        request = vertex.ListContextsRequest(
            parent=self._parent, page_size=_PAGE, filter=f'schema_title="{_RUN}"'
        )
        found = self._client.list_contexts(request=request)
        return sorted(found, key=lambda context: context.create_time)

    def _artifact(self, id: Id) -> vertex.Artifact | None:
        try:
            return self._client.get_artifact(name=f"{self._parent}/artifacts/{id}")
        except exceptions.NotFound:
            return None

    def _execution(self, name: str) -> Execution:
        found = self._client.get_execution(name=name)
        graph = self._client.query_execution_inputs_and_outputs(execution=name)
        keys = {a.name: a.display_name or a.schema_title for a in graph.artifacts}
        edges: dict[int, list[Edge]] = {vertex.Event.Type.INPUT: [], vertex.Event.Type.OUTPUT: []}
        for event in graph.events:
            edges[event.type_].append(Edge(keys[event.artifact], _id(event.artifact)))
        contexts = self._contexts_of(name)
        pipeline = next((value for kind, value in contexts if kind == "pipeline"), "")
        node = found.display_name or _id(name)
        return Execution(
            _id(name),
            found.schema_title,
            _id(name),
            _STATES.get(found.state, "running"),
            _properties(found),
            (*contexts, ("node", f"{pipeline}.{node}" if pipeline else node)),
            _milliseconds(found.create_time),
            _milliseconds(found.update_time),
            tuple(edges[vertex.Event.Type.INPUT]),
            tuple(edges[vertex.Event.Type.OUTPUT]),
        )

    def _contexts_of(self, execution: str) -> tuple[tuple[str, str], ...]:
        """Returns the run and the pipeline of an execution; Vertex AI lists them by run only."""
        if execution not in self._contexts:
            for context in self._run_contexts():
                parents = [_id(parent) for parent in context.parent_contexts]
                mine = (("pipeline_run", _id(context.name)), *(("pipeline", p) for p in parents))
                request = {"context": context.name}
                graph = self._client.query_context_lineage_subgraph(request=request)
                self._contexts |= {e.name: mine for e in graph.executions}
        return self._contexts.setdefault(execution, ())


def _client(location: str) -> vertex.MetadataServiceClient:
    if address := os.environ.get(ENDPOINT):
        return vertex.MetadataServiceClient(
            credentials=auth.AnonymousCredentials(),
            client_options={"api_endpoint": address},
            transport="rest",
        )
    endpoint = f"{location}-aiplatform.googleapis.com"
    return vertex.MetadataServiceClient(client_options={"api_endpoint": endpoint})


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _properties(entity: vertex.Artifact | vertex.Execution) -> dict[str, Any]:
    found = type(entity).to_dict(entity).get("metadata") or {}
    # Vertex AI prefixes the parameters of a task with `input:`, TFX's own runners do not.
    return {name.removeprefix("input:"): value for name, value in found.items()}


def _milliseconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp() * 1000)
