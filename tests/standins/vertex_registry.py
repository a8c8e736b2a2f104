"""Vertex AI's model registry, in memory; REST, for unmodified clients.

API: https://cloud.google.com/vertex-ai/docs/reference/rest. Requests are parsed into the
service's own protos, which refuse unknown fields. As the real one it answers with the project's
number.
"""

from __future__ import annotations

import re

from google.cloud import aiplatform_v1 as vertex
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from tests.standins.http_service import Answer, Request, route
from tests.standins.model_storage import ModelStorage
from tests.standins.operations import OperationsService
from tests.standins.storage import StorageStandIn
from tests.standins.vertex_messages import (
    AT,
    EMPTY,
    check_labels,
    failed,
    invalid,
    missing,
    numbered,
    read,
    shown,
    typed,
)

MODEL = AT + r"/models/([^/:@]+)"
VERSION = MODEL + r"@([^/:]+)"


class VertexRegistryStandIn(OperationsService):
    """Models and their versions, and the operations of all of Vertex AI.

    Attributes:
        models: Model id to its versions by number.
        endpoints: Endpoint id to the endpoint.
    """

    def __init__(self, storage: StorageStandIn):
        super().__init__()
        self.models: dict[str, dict[str, vertex.Model]] = {}
        self.endpoints: dict[str, vertex.Endpoint] = {}
        self._storage = ModelStorage(storage)
        self._last_version: dict[str, int] = {}
        self._taken: set[str] = set()  # names that are being created
        self._made = 0
        self._answered = 0

    def __exit__(self, *_):
        super().__exit__(*_)
        self._storage.close()

    @route("POST", AT + "/models:upload")
    def _upload(self, request: Request, at: str) -> Answer:
        asked = read(vertex.UploadModelRequest, request)
        model = asked.model
        if asked.parent_model:
            name = asked.parent_model.rpartition("/")[2]
            if name not in self.models:
                return missing(asked.parent_model)
        else:
            name = asked.model_id or str(self._next())
            if not re.fullmatch(r"[a-z0-9_-]{1,63}", name):
                return invalid(f"model_id: {name}")
            if name in self._last_version or f"models/{name}" in self._taken:
                return failed(409, "ALREADY_EXISTS", f"The Model {name} already exists")
        if not model.display_name or not model.container_spec.image_uri:
            return invalid("display_name and container_spec.image_uri are required")
        if not self._storage.holds(model.artifact_uri):
            return invalid(f"artifact_uri: there is no SavedModel in {model.artifact_uri!r}")
        check_labels(model.labels)
        model.name = f"{numbered(at)}/models/{name}"
        model.version_create_time = _now()
        self._taken.add(f"models/{name}")

        def finish():
            self._taken.discard(f"models/{name}")
            self._last_version[name] = self._last_version.get(name, 0) + 1
            model.version_id = str(self._last_version[name])
            versions = self.models.setdefault(name, {})
            if not versions:
                model.version_aliases = ["default"]
            versions[model.version_id] = model
            response = vertex.UploadModelResponse(
                model=model.name, model_version_id=model.version_id
            )
            return typed("UploadModelResponse", response)

        where = f"{at}/models/{name}"
        return self._operation(
            where, "upload", finish, lambda _: self._taken.discard(f"models/{name}")
        )

    @route("GET", MODEL)
    def _get_model(self, request: Request, at: str, name: str) -> Answer:
        return self._get_version(request, at, name, "default")

    @route("GET", VERSION)
    def _get_version(self, request: Request, at: str, name: str, version: str) -> Answer:
        found = self._find(name, version)
        return shown(found) if found else missing(request.path[4:])

    @route("GET", MODEL + ":listVersions")
    def _list_versions(self, request: Request, at: str, name: str) -> Answer:
        if name not in self.models:
            return missing(request.path[4:].removesuffix(":listVersions"))
        found = sorted(self.models[name].values(), key=lambda v: -int(v.version_id))
        first = int(request.query.get("pageToken", 0))
        answer = vertex.ListModelVersionsResponse(models=found[first : first + 2])  # small pages
        if first + 2 < len(found):
            answer.next_page_token = str(first + 2)
        return shown(answer)

    @route("PATCH", VERSION)
    def _update_model(self, request: Request, at: str, name: str, version: str) -> Answer:
        found = self._find(name, version)
        if not found:
            return missing(request.path[4:])
        if request.query.get("updateMask") != "labels":
            return invalid(f"update_mask: {request.query.get('updateMask')}")
        changed = read(vertex.Model, request)
        check_labels(changed.labels)
        found.labels = dict(changed.labels)
        return shown(found)

    @route("POST", VERSION + ":mergeVersionAliases")
    def _merge_aliases(self, request: Request, at: str, name: str, version: str) -> Answer:
        found = self._find(name, version)
        if not found:
            return missing(request.path[4:].removesuffix(":mergeVersionAliases"))
        asked = read(vertex.MergeVersionAliasesRequest, request)
        for alias in asked.version_aliases:
            for other in self.models[name].values():
                other.version_aliases = [a for a in other.version_aliases if a != alias]
            found.version_aliases = [*found.version_aliases, alias]
        return shown(found)

    @route("DELETE", VERSION + ":deleteVersion")
    def _delete_version(self, request: Request, at: str, name: str, version: str) -> Answer:
        found = self._find(name, version)
        if not found:
            return missing(request.path[4:].removesuffix(":deleteVersion"))
        if "default" in found.version_aliases:
            return failed(400, "FAILED_PRECONDITION", "The default version cannot be deleted")
        deployed = [d for e in self.endpoints.values() for d in e.deployed_models]
        if any(_is(d, name, found.version_id) for d in deployed):
            return failed(400, "FAILED_PRECONDITION", "The version is deployed")

        def finish():
            self.models[name].pop(found.version_id, None)  # it may have been asked for twice
            return EMPTY

        return self._operation(f"{at}/models/{name}", "deleteVersion", finish)

    def _find(self, name: str, version: str) -> vertex.Model | None:
        versions = self.models.get(name, {})
        by_alias = (v for v in versions.values() if version in v.version_aliases)
        return versions.get(version) or next(by_alias, None)

    def _next(self) -> int:
        self._made += 1
        return self._made

    def _operation(self, resource: str, method: str, *effects) -> Answer:
        return self.start(f"{resource}/operations/{self._next()}", method, *effects)

    def _carry_out(self, request: Request) -> Answer:
        try:
            return super()._carry_out(request)
        except (json_format.ParseError, ValueError) as wrong:
            return invalid(str(wrong))


def _now() -> Timestamp:
    now = Timestamp()
    now.GetCurrentTime()
    return now


def _is(deployed: vertex.DeployedModel, model: str, version: str) -> bool:
    return deployed.model.rpartition("/")[2] == model and deployed.model_version_id == version
