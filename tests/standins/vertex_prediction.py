"""Vertex AI's model registry, endpoints and predictions, in memory; REST, for unmodified clients.

API: https://cloud.google.com/vertex-ai/docs/reference/rest. Requests are parsed into the
service's own protos, which refuse unknown fields. As the real one it answers with the project's
number.
"""

from __future__ import annotations

import re

from google.cloud import aiplatform_v1 as vertex

from tests.standins.http_service import Answer, Request, route
from tests.standins.vertex_messages import (
    AT,
    check_labels,
    failed,
    invalid,
    missing,
    numbered,
    read,
    shown,
    typed,
)
from tests.standins.vertex_registry import VertexRegistryStandIn

_ENDPOINT = AT + r"/endpoints/([^/:]+)"


class VertexPredictionStandIn(VertexRegistryStandIn):
    """Models, endpoints and predictions."""

    @route("POST", AT + "/endpoints")
    def _create_endpoint(self, request: Request, at: str) -> Answer:
        endpoint = read(vertex.Endpoint, request)
        name = request.query.get("endpointId") or str(self._next())
        if not endpoint.display_name or not re.fullmatch(r"[a-z0-9-]{1,63}", name):
            return invalid(f"endpoint {name} {endpoint.display_name!r}")
        if name in self.endpoints or f"endpoints/{name}" in self._taken:
            return failed(409, "ALREADY_EXISTS", f"The Endpoint {name} already exists")
        check_labels(endpoint.labels)
        endpoint.name = f"{numbered(at)}/endpoints/{name}"
        self._taken.add(f"endpoints/{name}")

        def finish():
            self._taken.discard(f"endpoints/{name}")
            self.endpoints[name] = endpoint
            return typed("Endpoint", endpoint)

        where = f"{at}/endpoints/{name}"
        return self._operation(
            where, "createEndpoint", finish, lambda _: self._taken.discard(f"endpoints/{name}")
        )

    @route("GET", AT + "/endpoints")
    def _list_endpoints(self, request: Request, at: str) -> Answer:
        found = list(self.endpoints.values())
        if wanted := request.query.get("filter"):
            key, value = re.fullmatch(r'labels\.(\w+)="([^"]*)"', wanted).groups()
            found = [endpoint for endpoint in found if endpoint.labels.get(key) == value]
        return shown(vertex.ListEndpointsResponse(endpoints=found))

    @route("GET", _ENDPOINT)
    def _get_endpoint(self, request: Request, at: str, name: str) -> Answer:
        found = self.endpoints.get(name)
        return shown(found) if found else missing(request.path[4:])

    @route("PATCH", _ENDPOINT)
    def _update_endpoint(self, request: Request, at: str, name: str) -> Answer:
        endpoint = self.endpoints.get(name)
        if not endpoint:
            return missing(request.path[4:])
        if request.query.get("updateMask") != "trafficSplit":
            return invalid(f"update_mask: {request.query.get('updateMask')}")
        split = dict(read(vertex.Endpoint, request).traffic_split)
        if wrong := _wrong_split(split, {d.id for d in endpoint.deployed_models}):
            return wrong
        endpoint.traffic_split = _positive(split)
        return shown(endpoint)

    @route("POST", _ENDPOINT + ":deployModel")
    def _deploy(self, request: Request, at: str, name: str) -> Answer:
        endpoint = self.endpoints.get(name)
        if not endpoint:
            return missing(request.path[4:].removesuffix(":deployModel"))
        asked = read(vertex.DeployModelRequest, request)
        deployed, split = asked.deployed_model, dict(asked.traffic_split)
        model, _, version = deployed.model.rpartition("/")[2].partition("@")
        found = self._find(model, version or "default")
        if not found:
            return missing(deployed.model)
        resources = deployed.dedicated_resources
        if not resources.machine_spec.machine_type or resources.min_replica_count < 1:
            return invalid("dedicated_resources: machine_type and min_replica_count are required")
        if wrong := _wrong_split(split, {"0"} | {d.id for d in endpoint.deployed_models}):
            return wrong
        deployed.id = str(10**18 + self._next())
        deployed.model, deployed.model_version_id = found.name, found.version_id

        def finish():
            split[deployed.id] = split.pop("0", 0)
            endpoint.deployed_models = [*endpoint.deployed_models, deployed]
            here = {d.id for d in endpoint.deployed_models}
            endpoint.traffic_split = _positive({i: s for i, s in split.items() if i in here})
            return typed("DeployModelResponse", vertex.DeployModelResponse(deployed_model=deployed))

        return self._operation(f"{at}/endpoints/{name}", "deployModel", finish)

    @route("POST", _ENDPOINT + ":undeployModel")
    def _undeploy(self, request: Request, at: str, name: str) -> Answer:
        endpoint = self.endpoints.get(name)
        wanted = read(vertex.UndeployModelRequest, request).deployed_model_id
        if not endpoint or wanted not in {d.id for d in endpoint.deployed_models}:
            return missing(f"{request.path[4:]} {wanted}")
        if endpoint.traffic_split.get(wanted) and len(endpoint.deployed_models) > 1:
            return failed(400, "FAILED_PRECONDITION", f"{wanted} has traffic assigned to it")

        def finish():
            endpoint.deployed_models = [d for d in endpoint.deployed_models if d.id != wanted]
            return typed("UndeployModelResponse", vertex.UndeployModelResponse())

        return self._operation(f"{at}/endpoints/{name}", "undeployModel", finish)

    @route("POST", _ENDPOINT + ":predict")
    def _predict(self, request: Request, at: str, name: str) -> Answer:
        asked = read(vertex.PredictRequest, request)
        if asked.parameters:
            return invalid("the container takes no parameters")
        deployed, answer = self._asked(name, {"instances": request.json["instances"]})
        if answer.status != 200:
            return answer
        answer.content |= {
            "deployedModelId": deployed.id,
            "model": deployed.model,
            "modelDisplayName": deployed.display_name,
            "modelVersionId": deployed.model_version_id,
        }
        return answer

    @route("POST", _ENDPOINT + ":rawPredict")
    def _raw_predict(self, request: Request, at: str, name: str) -> Answer:
        return self._asked(name, request.json)[1]

    # The client asks for operations by the first of its HTTP bindings, which begins with /ui.
    @route(
        "GET", r"/(?:v1|ui)/(projects/[^/]+/locations/[^/]+)/(models|endpoints)/([^/]+)/operations"
    )
    def _list_operations(self, request: Request, at: str, kind: str, name: str) -> Answer:
        below = f"{at}/{kind}/{name}/operations/"
        found = [o for n, o in self._operations.items() if n.startswith(below)]
        return Answer({"operations": found})

    @route("GET", r"/(?:v1|ui)/(projects/.+/operations/[^/]+)")
    def _get_operation(self, request: Request, name: str) -> Answer:
        return self.operation(name)

    def _asked(self, name: str, body: dict) -> tuple[vertex.DeployedModel | None, Answer]:
        """The model whose turn it is by the traffic split, and its container's answer."""
        endpoint = self.endpoints.get(name)
        split = dict(endpoint.traffic_split) if endpoint else {}
        if not split:
            return None, missing(f"endpoints/{name} with a deployed model")
        turn = (self._answered * 37) % 100  # 37 and 100 have no common factor: every share is met
        self._answered += 1
        turns = [chosen for chosen, share in sorted(split.items()) for _ in range(share)]
        deployed = next(d for d in endpoint.deployed_models if d.id == turns[turn])
        model = self._find(deployed.model.rpartition("/")[2], deployed.model_version_id)
        answer = self._storage.predict(model.artifact_uri, body)
        if "error" in answer:
            return deployed, invalid(answer["error"])
        return deployed, Answer(answer)


def _wrong_split(split: dict[str, int], known: set[str]) -> Answer | None:
    if sum(split.values()) != 100 or not set(split) <= known:
        return invalid(f"traffic_split {split}: 100 in all among {sorted(known)}")
    return None


def _positive(split: dict[str, int]) -> dict[str, int]:
    return {name: share for name, share in split.items() if share}
