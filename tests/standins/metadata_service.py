"""A stand-in for Vertex ML Metadata over REST: holds a store, answers Google's own client."""

from __future__ import annotations

import datetime
import re

from google.cloud import aiplatform_v1 as vertex
from google.protobuf import json_format

from tests.standins.http_service import Answer, HttpService, Request, error, route

_STORE = r"/v1/(projects/[^/]+/locations/[^/]+/metadataStores/[^/]+)"


class VertexMetadataStandIn(HttpService):
    """The service; contexts, executions, artifacts and events by their resource names.

    Bodies are read into Google's message classes and answers written from them, so that a field
    which the service does not have is an error.
    """

    def __init__(self):
        super().__init__()
        self.contexts: dict[str, vertex.Context] = {}
        self.executions: dict[str, vertex.Execution] = {}
        self.artifacts: dict[str, vertex.Artifact] = {}
        self.events: list[vertex.Event] = []
        self.members: dict[str, set[str]] = {}
        """Executions by context."""

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.timezone.utc)

    @route("GET", _STORE + "/(contexts|executions|artifacts)")
    def _list(self, request: Request, parent: str, kind: str) -> Answer:
        known = {"filter", "pageSize", "pageToken", "$alt"}
        if unknown := set(request.query) - known:
            return error(400, f"unknown parameters {sorted(unknown)}")
        found = [
            item
            for name, item in getattr(self, kind).items()
            if name.startswith(parent) and _fits(item, request.query.get("filter", ""))
        ]
        start = int(request.query.get("pageToken", 0))
        size = int(request.query.get("pageSize", 100))
        answer = {kind: [_json(item) for item in found[start : start + size]]}
        if len(found) > start + size:
            answer["nextPageToken"] = str(start + size)
        return Answer(answer)

    @route("GET", _STORE + "/(contexts|executions|artifacts)/([^/:]+)")
    def _get(self, request: Request, parent: str, kind: str, id: str) -> Answer:
        item = getattr(self, kind).get(f"{parent}/{kind}/{id}")
        return Answer(_json(item)) if item else error(404, f"no {kind} {id}")

    @route("POST", _STORE + "/contexts")
    def _create(self, request: Request, parent: str) -> Answer:
        id = request.query["contextId"]
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", id):
            return error(400, f"not an id: {id}")
        name = f"{parent}/contexts/{id}"
        if name in self.contexts:
            return error(409, f"{name} exists already")
        context = vertex.Context.from_json(request.body, ignore_unknown_fields=False)
        if len(context.display_name) > 128:
            return error(400, "display_name is longer than 128 characters")
        context.name, context.create_time, context.update_time = name, self.now(), self.now()
        self.contexts[name] = context
        return Answer(_json(context))

    @route("PATCH", _STORE + "/contexts/([^/:]+)")
    def _update(self, request: Request, parent: str, id: str) -> Answer:
        name = f"{parent}/contexts/{id}"
        if name not in self.contexts:
            return error(404, f"no context {id}")
        assert request.query["updateMask"] == "metadata", request.query
        sent = vertex.Context.from_json(request.body, ignore_unknown_fields=False)
        self.contexts[name].metadata = sent.metadata
        return Answer(_json(self.contexts[name]))

    @route("GET", _STORE + "/executions/([^/:]+):queryExecutionInputsAndOutputs")
    def _edges(self, request: Request, parent: str, id: str) -> Answer:
        name = f"{parent}/executions/{id}"
        return self._subgraph([e for e in self.events if e.execution == name])

    @route("GET", _STORE + "/artifacts/([^/:]+):queryArtifactLineageSubgraph")
    def _around(self, request: Request, parent: str, id: str) -> Answer:
        assert request.query["maxHops"] == "1", request.query
        name = f"{parent}/artifacts/{id}"
        return self._subgraph([e for e in self.events if e.artifact == name])

    @route("GET", _STORE + "/contexts/([^/:]+):queryContextLineageSubgraph")
    def _context(self, request: Request, parent: str, id: str) -> Answer:
        name = f"{parent}/contexts/{id}"
        if name not in self.contexts:
            return error(404, f"no context {id}")
        members = self.members.get(name, set())
        return self._subgraph([e for e in self.events if e.execution in members], members)

    def _subgraph(self, events: list[vertex.Event], executions=frozenset()) -> Answer:
        executions = {*executions, *(e.execution for e in events)}
        graph = vertex.LineageSubgraph(
            events=events,
            executions=[self.executions[name] for name in sorted(executions)],
            artifacts=[self.artifacts[name] for name in sorted({e.artifact for e in events})],
        )
        return Answer(_json(graph))


def _fits(item, condition: str) -> bool:
    if not condition:
        return True
    if match := re.fullmatch(r'schema_title="([^"]+)"', condition):
        return item.schema_title == match[1]
    if match := re.fullmatch(r'update_time>="([^"]+)"', condition):
        moment = datetime.datetime.fromisoformat(match[1].replace("Z", "+00:00"))
        return item.update_time >= moment
    raise ValueError(f"the stand-in does not know the filter {condition!r}")


def _json(message) -> dict:
    return json_format.MessageToDict(type(message).pb(message))
