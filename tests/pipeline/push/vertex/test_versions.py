"""Versions, canaries, promotions and rollbacks on Vertex AI: Google's client, a stand-in."""

import base64

import grpc
import pytest
import requests
from google.cloud import aiplatform_v1 as vertex

from pipeline.push.__main__ import main
from pipeline.push.target import PushError
from tests.pipeline.push.vertex.holds import MODEL, deployed, sent, shown
from tests.standins.vertex_grpc import VertexGrpcStandIn


def test_versions_of_one_model_behind_one_endpoint(target, model, service):
    pushes = [target().push(model(c)) for c in "abc"]
    assert [p.version for p in pushes] == ["1", "2", "3"]
    assert pushes[2].destination == f"{MODEL}@3"
    assert list(service.models) == list(service.endpoints) == ["cats-dogs"]
    assert shown(target()) == [("1", "kept", 0), ("2", "kept", 0), ("3", "served", 100)]
    assert deployed(service) == ["3"], "the old ones are taken off their machines"
    assert service.models["cats-dogs"]["3"].version_aliases == ["default"]
    assert target().status().notes == ()


def test_container_labels_key_and_account_reach_the_service(target, model, service):
    key = "projects/my-project/locations/europe-west4/keyRings/r/cryptoKeys/k"
    account = "server@my-project.iam.gserviceaccount.com"
    routes = {"predict_route": "/v1/models/m:predict", "health_route": "/v1/models/m"}
    container = "europe-west4-docker.pkg.dev/my-project/serving/tensorflow:1"
    settings = {"kms_key": key, "service_account": account, "container": container, **routes}
    target(machine_type="n1-highmem-4", max_replicas=3, **settings).push(model("a"))
    version, endpoint = service.models["cats-dogs"]["1"], service.endpoints["cats-dogs"]
    assert version.container_spec.image_uri == container
    assert version.container_spec.predict_route == "/v1/models/m:predict"
    assert version.container_spec.health_route == "/v1/models/m"
    assert version.encryption_spec.kms_key_name == endpoint.encryption_spec.kms_key_name == key
    assert version.labels["team"] == endpoint.labels["team"] == "pets"
    (on_machines,) = endpoint.deployed_models
    assert on_machines.service_account == account
    assert on_machines.dedicated_resources.machine_spec.machine_type == "n1-highmem-4"
    assert on_machines.dedicated_resources.max_replica_count == 3


def test_the_same_model_is_pushed_once(target, model, service):
    assert target().push(model("a")) == target().push(model("a"))
    assert len(sent(service, ":upload")) == len(sent(service, ":deployModel")) == 1
    assert target(machine_type="n1-highmem-4").push(model("a")).version == "2"
    key = "projects/my-project/locations/europe-west4/keyRings/r/cryptoKeys/k"
    assert target(kms_key=key).push(model("a")).version == "3", "or it would not be encrypted"


def test_a_canary_is_promoted(target, model, service):
    target().push(model("a"))
    canary = target(canary_percent=10)
    canary.push(model("b"))
    assert shown(target()) == [("1", "served", 90), ("2", "canary", 10)]
    assert service.models["cats-dogs"]["1"].version_aliases == ["default"]
    canary.push(model("b"))
    assert shown(target()) == [("1", "served", 90), ("2", "canary", 10)], "it waits for promote"
    canary.push(model("c"))
    expected = [("1", "served", 90), ("2", "kept", 0), ("3", "canary", 10)]
    assert shown(target()) == expected and deployed(service) == ["1", "3"]
    assert target().promote() == "3"
    assert shown(target())[2] == ("3", "served", 100) and deployed(service) == ["3"]
    assert service.models["cats-dogs"]["3"].version_aliases == ["default"]
    with pytest.raises(
        PushError, match=r"no version waits for promotion: .*/endpoints/cats-dogs has no canary"
    ):
        target().promote()


def test_a_canary_with_most_of_the_traffic_is_still_a_canary(target, model, service):
    target().push(model("a"))
    target(canary_percent=60).push(model("b"))
    assert shown(target()) == [("1", "served", 40), ("2", "canary", 60)]
    target(canary_percent=70).push(model("c"))
    assert shown(target())[::2] == [("1", "served", 30), ("3", "canary", 70)]
    assert target().promote() == "3"
    target(canary_percent=60).push(model("d"))
    assert target().rollback() == "3" and deployed(service) == ["3"]


def test_a_canary_is_rolled_back(target, model, service):
    target().push(model("a"))
    target(canary_percent=10).push(model("b"))
    assert target().rollback() == "1"
    assert shown(target()) == [("1", "served", 100), ("2", "rolled back", 0)]
    assert deployed(service) == ["1"]
    with pytest.raises(
        PushError, match=r"is version 2 of .*, which was rolled back; .*promote --v"
    ):
        target().push(model("b"))


def test_a_version_that_was_served_is_rolled_back_and_promoted_again(target, model, service):
    for c in "abc":
        target().push(model(c))
    assert target().rollback() == "2" and deployed(service) == ["2"]
    assert target().rollback() == "1"
    assert shown(target()) == [("1", "served", 100), *((v, "rolled back", 0) for v in "23")]
    with pytest.raises(PushError, match=r"no version of .* precedes the served one"):
        target().rollback()
    assert target().promote("3") == "3" and deployed(service) == ["3"]
    assert [state for _, state, _ in shown(target())] == ["kept", "rolled back", "served"]
    assert target().rollback() == "1", "2 was rolled back: it is no version to go back to"
    with pytest.raises(
        PushError, match=r"version 3 is newer than the served version 1: `promote` it"
    ):
        target().rollback("3")
    target().promote("3")
    assert target().rollback("2") == "2", "but when it is asked for"
    assert [state for _, state, _ in shown(target())] == ["kept", "served", "rolled back"]
    with pytest.raises(PushError, match=r"no version '9' of .*; there are: 1, 2, 3"):
        target().promote("9")


def test_a_canary_s_share_can_be_changed_by_a_push(target, model, service):
    target().push(model("a"))
    for percent in (10, 25):
        target(canary_percent=percent).push(model("b"))
        assert shown(target()) == [("1", "served", 100 - percent), ("2", "canary", percent)]
    target(canary_percent=10).push(model("a"))
    assert shown(target())[0] == ("1", "served", 75), "the one served is no canary"
    target().push(model("b"))
    assert shown(target()) == [("1", "kept", 0), ("2", "served", 100)]
    assert service.models["cats-dogs"]["2"].version_aliases == ["default"]


def test_the_previous_version_can_stay_deployed(target, model, service):
    for c in "abc":
        target(keep_deployed=True).push(model(c))
    assert deployed(service) == ["2", "3"]
    target(keep_deployed=True).rollback()
    assert len(sent(service, ":deployModel")) == 3, "nothing had to be deployed again"
    assert shown(target())[1] == ("2", "served", 100)


def test_endpoints_are_found_by_id_and_not_by_display_name(target, model, service):
    at = "projects/my-project/locations/europe-west4"
    client = target()._service._endpoints
    for name in ("1234", "other"):
        endpoint = {"display_name": "cats-dogs"}
        client.create_endpoint(parent=at, endpoint=endpoint, endpoint_id=name).result()
    target(endpoint="1234").push(model("a"))
    assert deployed(service, "1234") == ["1"] and deployed(service, "other") == []
    target(endpoint=f"{at}/endpoints/other").push(model("a"))
    assert deployed(service, "other") == ["1"] and len(sent(service, ":upload")) == 1
    with pytest.raises(PushError, match=r"there is no endpoint .*/endpoints/999; create it, or"):
        target(endpoint="999").push(model("a"))
    target().push(model("a"))
    assert deployed(service) == ["1"], "neither has the label: one is created"


def test_two_endpoints_with_the_label_are_an_error(target, model, service):
    target().push(model("a"))
    endpoint = {"display_name": "x", "labels": {"pawprint_model": "cats-dogs"}}
    at = "projects/my-project/locations/europe-west4"
    target()._service._endpoints.create_endpoint(parent=at, endpoint=endpoint).result()
    with pytest.raises(
        PushError, match=r"2 endpoints have the label .*set push.vertex.endpoint to the right one"
    ):
        target().push(model("b"))


def test_nothing_can_be_promoted_before_the_first_push(target):
    assert target().status().notes == ("there is no endpoint yet; the first push creates it",)
    for act in (target().promote, target().rollback):
        with pytest.raises(PushError, match="nothing was pushed yet"):
            act()


def test_the_command_line_shows_and_changes_what_is_served(target, model, options, capsys):
    for c in "ab":
        target(canary_percent=20).push(model(c))
    here = ["--target", "vertex", "--set", f"push.vertex={options().model_dump_json()}"]
    assert main(["status", *here]) == 0
    shown = [line.split()[:4] for line in capsys.readouterr().out.splitlines()]
    assert shown[0][0].endswith("/endpoints/cats-dogs")
    assert shown[2:] == [["1", "served", "80", "%"], ["2", "canary", "20", "%"]]
    assert main(["promote", *here]) == 0
    assert capsys.readouterr().out.startswith("version 2 is served by projects/")
    assert main(["rollback", *here]) == 0
    assert capsys.readouterr().out.startswith("version 1 is served by projects/")
    assert main(["rollback", *here]) == 1
    assert capsys.readouterr().err.startswith("error: no version of projects/")


@pytest.fixture
def over_grpc(service, target, monkeypatch):
    """The target over gRPC as with the real service, except for address and TLS."""
    asked = []

    def plain(kind):
        client = getattr(vertex, f"{kind}Client")

        def make(client_options, transport):
            asked.append((client_options["api_endpoint"], transport))
            by_grpc = client.get_transport_class("grpc")
            return client(transport=by_grpc(channel=grpc.insecure_channel(server.address)))

        monkeypatch.setattr(vertex, f"{kind}Client", make)

    with VertexGrpcStandIn(service) as server:
        plain("ModelService")
        plain("EndpointService")
        target(api_endpoint=None)
        assert set(asked) == {("europe-west4-aiplatform.googleapis.com", "grpc")}
        yield lambda **settings: target(api_endpoint=None, **settings)


def test_pushes_over_grpc(over_grpc, model, service):
    over_grpc().push(model("a"))
    service.lose(lambda r: r.method == "POST", times=2)
    service.fail(lambda r: r.path.endswith(":deployModel"), 429, times=2)
    service.fail(lambda r: r.method == "GET", 503, times=2)
    over_grpc(canary_percent=10).push(model("b"))
    assert shown(over_grpc()) == [("1", "served", 90), ("2", "canary", 10)]
    assert over_grpc().promote() == "2" and deployed(service) == ["2"]
    assert over_grpc().rollback() == "1"
    assert shown(over_grpc()) == [("1", "served", 100), ("2", "rolled back", 0)]
    service.doom("upload", "out of machines")
    with pytest.raises(PushError, match=r"uploading a version of .* failed: .*out of machines"):
        over_grpc().push(model("c"))
    service.fail(lambda r: r.path.endswith(":upload"), 403)
    with pytest.raises(PushError, match=r"uploading a version of .* failed: 403 .* permission"):
        over_grpc().push(model("c"))


def test_the_pushed_model_answers_with_its_prediction(target, service, pushed_run, photos):
    from google.cloud import aiplatform

    target().push(str(pushed_run.root / "serving" / "1"))
    photo = next(photos.glob("cat/*.jpg")).read_bytes()
    name = target().status().destination
    instance = {"b64": base64.b64encode(photo).decode()}
    body = {"signature_name": "serving_jpeg", "instances": [instance]}
    raw = requests.post(f"{service.url}/v1/{name}:rawPredict", json=body, timeout=60)
    (answer,) = raw.json()["predictions"]
    assert set(answer) == {"label", "label_index", "probabilities"}

    aiplatform.init(
        project="my-project",
        location="europe-west4",
        api_endpoint=service.url,
        api_transport="rest",
    )
    record = {"b64": base64.b64encode(example(photo)).decode()}
    predicted = aiplatform.Endpoint(name).predict(instances=[record])
    assert predicted.model_version_id == "1"
    assert predicted.predictions[0]["label"] == answer["label"]
    assert predicted.predictions[0]["probabilities"] == pytest.approx(answer["probabilities"])


def example(photo: bytes) -> bytes:
    """A record like those of the pipeline, without the label."""
    import tensorflow as tf

    def feature(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    record = tf.train.Features(feature={"image": feature(photo)})
    return tf.train.Example(features=record).SerializeToString()
