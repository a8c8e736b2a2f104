"""AI Platform Prediction (`ml` v1): models, versions, operations and predictions, in memory.

API: https://cloud.google.com/ai-platform/prediction/docs/reference/rest. Requests are checked
against the service's own discovery document, which it also serves to the client.
"""

from __future__ import annotations

import datetime
import json
import re

import jsonschema

from tests.standins import discovery
from tests.standins.http_service import Answer, Request, error, route
from tests.standins.model_storage import ModelStorage
from tests.standins.operations import OperationsService
from tests.standins.storage import StorageStandIn

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,127}")
RUNTIMES = ("1.15", *(f"2.{minor}" for minor in range(1, 12)))
"""https://cloud.google.com/ai-platform/prediction/docs/runtime-version-list"""
_MODEL = r"/v1/projects/([^/]+)/models/([^/:]+)"
_VERSION = _MODEL + r"/versions/([^/:]+)"


class AiPlatformStandIn(OperationsService):
    """The service.

    Attributes:
        models: Full name to the model, with its versions by name under `versions`.
    """

    def __init__(self, storage: StorageStandIn):
        super().__init__()
        self.models: dict[str, dict] = {}
        self._storage = ModelStorage(storage)
        self._document = discovery.document("ml", "v1")
        self._schemas = {
            kind: discovery.schema("ml", "v1", f"GoogleCloudMlV1__{kind}")
            for kind in ("Model", "Version")
        }

    def __exit__(self, *_):
        super().__exit__(*_)
        self._storage.close()

    @route("GET", r"/\$discovery/rest|/discovery/v1/apis/ml/v1/rest")
    def _describe(self, request: Request) -> Answer:
        return Answer(self._document)

    @route("POST", r"/v1/projects/([^/]+)/models")
    def _create_model(self, request: Request, project: str) -> Answer:
        body = self._read(request, "Model")
        name = f"projects/{project}/models/{body.get('name')}"
        if name in self.models:
            return _failed(409, "ALREADY_EXISTS", f"Field: model.name Error: {name} already exists")
        if len(body.get("regions", [])) > 1:
            return _failed(400, "INVALID_ARGUMENT", "Only one region per model is supported")
        self.models[name] = body | {"name": name, "versions": {}}
        return Answer(self._model(name))

    @route("GET", _MODEL)
    def _get_model(self, request: Request, project: str, model: str) -> Answer:
        name = f"projects/{project}/models/{model}"
        return Answer(self._model(name)) if name in self.models else _missing(name)

    @route("DELETE", _MODEL)
    def _delete_model(self, request: Request, project: str, model: str) -> Answer:
        name = f"projects/{project}/models/{model}"
        if name not in self.models:
            return _missing(name)
        return self._operation(project, "models.delete", lambda: self.models.pop(name) and _EMPTY)

    @route("POST", _MODEL + "/versions")
    def _create_version(self, request: Request, project: str, model: str) -> Answer:
        parent = f"projects/{project}/models/{model}"
        if parent not in self.models:
            return _missing(parent)
        body = self._read(request, "Version")
        versions = self.models[parent]["versions"]
        if body.get("name") in versions:
            return _failed(409, "ALREADY_EXISTS", f"Field: version.name {body['name']} exists")
        if body.get("runtimeVersion") not in RUNTIMES or body.get("pythonVersion") != "3.7":
            found = f"{body.get('runtimeVersion')}, Python {body.get('pythonVersion')}"
            return _failed(
                400,
                "INVALID_ARGUMENT",
                f"Field: version.runtime_version Error: {found} is not supported",
            )
        if not self._storage.holds(body.get("deploymentUri", "")):
            return _failed(
                400, "INVALID_ARGUMENT", "Field: version.deployment_uri Error: no SavedModel there"
            )
        version = body | {
            "name": f"{parent}/versions/{body['name']}",
            "state": "CREATING",
            "createTime": datetime.datetime.now(datetime.timezone.utc).isoformat(),
            "etag": str(len(self.requests)),
        }
        versions[body["name"]] = version

        def finish():
            version["state"] = "READY"
            if not any(other.get("isDefault") for other in versions.values()):
                version["isDefault"] = True
            return _typed("Version", version)

        def failed(message):
            version.update(state="FAILED", errorMessage=message)

        return self._operation(project, "versions.create", finish, failed)

    @route("GET", _MODEL + "/versions")
    def _list_versions(self, request: Request, project: str, model: str) -> Answer:
        parent = f"projects/{project}/models/{model}"
        if parent not in self.models:
            return _missing(parent)
        versions = list(self.models[parent]["versions"].values())
        first = int(request.query.get("pageToken", 0))
        page = {"versions": versions[first : first + 2]}  # small pages: the client must turn them
        more = {"nextPageToken": str(first + 2)} if first + 2 < len(versions) else {}
        return Answer(page | more)

    @route("GET", _VERSION)
    def _get_version(self, request: Request, *names: str) -> Answer:
        version = self._version(*names)
        return Answer(version) if version else _missing(request.path[4:])

    @route("PATCH", _VERSION)
    def _patch_version(self, request: Request, *names: str) -> Answer:
        version = self._version(*names)
        if not version:
            return _missing(request.path[4:])
        if request.query.get("updateMask") != "description":
            return _failed(400, "INVALID_ARGUMENT", "this update mask is not supported")
        body = self._read(request, "Version")

        def finish():
            version["description"] = body.get("description", "")
            return _typed("Version", version)

        return self._operation(names[0], "versions.patch", finish)

    @route("DELETE", _VERSION)
    def _delete_version(self, request: Request, project: str, model: str, name: str) -> Answer:
        version = self._version(project, model, name)
        if not version:
            return _missing(request.path[4:])
        versions = self.models[f"projects/{project}/models/{model}"]["versions"]
        if version.get("isDefault") and len(versions) > 1:
            return _failed(400, "FAILED_PRECONDITION", "Cannot delete the default version")
        version["state"] = "DELETING"
        return self._operation(
            project, "versions.delete", lambda: versions.pop(name, None) and _EMPTY
        )

    @route("POST", _VERSION + ":setDefault")
    def _set_default(self, request: Request, project: str, model: str, name: str) -> Answer:
        version = self._version(project, model, name)
        if not version:
            return _missing(request.path[4:].removesuffix(":setDefault"))
        if version["state"] != "READY":
            return _failed(400, "FAILED_PRECONDITION", f"The version is {version['state']}")
        for other in self.models[f"projects/{project}/models/{model}"]["versions"].values():
            other.pop("isDefault", None)
        version["isDefault"] = True
        return Answer(version)

    @route("POST", _MODEL + ":predict")
    def _predict_default(self, request: Request, project: str, model: str) -> Answer:
        return self._predict(request, project, model, None)

    @route("POST", _VERSION + ":predict")
    def _predict(self, request: Request, project: str, model: str, name: str | None) -> Answer:
        parent = f"projects/{project}/models/{model}"
        versions = self.models.get(parent, {}).get("versions", {})
        default = next((v for v in versions.values() if v.get("isDefault")), None)
        version = versions.get(name) if name else default
        if version is None or version["state"] != "READY":
            return _missing(request.path[4:])
        answer = self._storage.predict(version["deploymentUri"], request.json)
        if "error" in answer:
            return _failed(400, "INVALID_ARGUMENT", f"Prediction failed: {answer['error']}")
        return Answer(answer)

    @route("GET", r"/v1/(projects/[^/]+/operations/[^/]+)")
    def _get_operation(self, request: Request, name: str) -> Answer:
        return self.operation(name)

    def _carry_out(self, request: Request) -> Answer:
        try:
            return super()._carry_out(request)
        except jsonschema.ValidationError as wrong:
            return _failed(400, "INVALID_ARGUMENT", f"{wrong.json_path}: {wrong.message}")

    def _read(self, request: Request, kind: str) -> dict:
        """The body, checked; like every Google service it takes fields in snake_case too."""
        body = json.loads(request.body)
        body = {re.sub(r"_([a-z])", lambda m: m[1].upper(), k): v for k, v in body.items()}
        discovery.check(body, self._schemas[kind])
        if request.method == "POST" and not _NAME.fullmatch(body.get("name", "")):
            raise jsonschema.ValidationError(f"name {body.get('name')!r}: letters, digits, _")
        for key, value in body.get("labels", {}).items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or len(value) > 63:
                raise jsonschema.ValidationError(f"label {key}={value} is not allowed")
        return body

    def _model(self, name: str) -> dict:
        model = self.models[name]
        default = next((v for v in model["versions"].values() if v.get("isDefault")), None)
        shown = {key: value for key, value in model.items() if key != "versions"}
        return shown | ({"defaultVersion": default} if default else {})

    def _version(self, project: str, model: str, version: str) -> dict | None:
        parent = self.models.get(f"projects/{project}/models/{model}")
        return parent["versions"].get(version) if parent else None

    def _operation(self, project: str, method: str, *effects) -> Answer:
        name = f"projects/{project}/operations/{method.replace('.', '_')}_{len(self.requests)}"
        return self.start(name, method, *effects)


_EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}


def _typed(kind: str, body: dict) -> dict:
    return {"@type": f"type.googleapis.com/google.cloud.ml.v1.{kind}"} | body


def _missing(name: str) -> Answer:
    return _failed(404, "NOT_FOUND", f"Field: name Error: {name} is not found")


def _failed(status: int, reason: str, message: str) -> Answer:
    answer = error(status, message)
    answer.content["error"]["status"] = reason
    return answer
