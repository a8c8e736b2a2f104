"""Pushes to Vertex AI Prediction: Google's real client against a stand-in."""

import base64
import subprocess
import sys
import threading
import time

import grpc
import pytest
import requests
from google.cloud import aiplatform_v1 as vertex

from pipeline.push import vertex_service
from pipeline.push.__main__ import main
from pipeline.push.options import VertexConfig
from pipeline.push.target import PushError
from pipeline.push.vertex import VertexTarget
from tests.conftest import REPOSITORY
from tests.standins.vertex_grpc import VertexGrpcStandIn
from tests.standins.vertex_prediction import VertexPredictionStandIn

MODEL = "projects/my-project/locations/europe-west4/models/cats-dogs"


@pytest.fixture
def service(storage):
    with VertexPredictionStandIn(storage) as stand_in:
        yield stand_in


@pytest.fixture
def options(service):
    def make(**settings) -> VertexConfig:
        given = {
            "project": "my-project",
            "region": "europe-west4",
            "models_at": "gs://bucket/models",
            "model": "cats-dogs",
            "labels": {"team": "pets"},
            "timeout_s": 60,
            "api_endpoint": service.url,
        }
        return VertexConfig(**given | settings)

    return make


@pytest.fixture
def target(options, monkeypatch):
    monkeypatch.setattr(vertex_service, "BACKOFF_S", 0.02)
    monkeypatch.setattr(vertex_service, "POLL_S", 0.05)
    return lambda keep_last=5, **settings: VertexTarget(options(**settings), keep_last)


def shown(target) -> list[tuple[str, str, int]]:
    return [(row.name, row.state, row.share) for row in target.status().versions]


def deployed(service, endpoint: str = "cats-dogs") -> list[str]:
    """The versions that are on machines."""
    return [d.model_version_id for d in service.endpoints[endpoint].deployed_models]


def sent(service, ending: str) -> list:
    return [r for r in service.requests if r.method == "POST" and r.path.endswith(ending)]


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
    with pytest.raises(PushError, match=r"nothing waits: no canary behind .*/endpoints/cats-dogs"):
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


def test_what_cannot_be_tidied_up_does_not_fail_a_push(target, model, service, caplog):
    target(keep_last=1).push(model("a"))
    service.fail(lambda r: r.path.endswith(":undeployModel") or r.method == "DELETE", 403)
    for c in "bcd":
        target(keep_last=1).push(model(c))
    assert "undeploying" in caplog.text and "deleting version 1" in caplog.text
    assert deployed(service) == ["1", "2", "3", "4"]
    assert "version 3 runs without requests; the next push" in target().status().notes[-1]
    service.recover()
    target(keep_last=1).push(model("d"))
    assert deployed(service) == ["4"] and list(service.models["cats-dogs"]) == ["3", "4"]


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
    with pytest.raises(PushError, match=r"no version of .* precedes the one served"):
        target().rollback()
    assert target().promote("3") == "3" and deployed(service) == ["3"]
    assert [state for _, state, _ in shown(target())] == ["kept", "rolled back", "served"]
    assert target().rollback() == "1", "2 was rolled back: it is no version to go back to"
    with pytest.raises(PushError, match=r"version 3 is newer than the one served, 1: `promote` it"):
        target().rollback("3")
    target().promote("3")
    assert target().rollback("2") == "2", "but when it is asked for"
    assert [state for _, state, _ in shown(target())] == ["kept", "served", "rolled back"]
    with pytest.raises(PushError, match=r"no version '9' of .*; there are: 1, 2, 3"):
        target().promote("9")


def test_the_version_before_can_stay_on_its_machines(target, model, service):
    for c in "abc":
        target(keep_deployed=True).push(model(c))
    assert deployed(service) == ["2", "3"]
    target(keep_deployed=True).rollback()
    assert len(sent(service, ":deployModel")) == 3, "nothing had to be deployed again"
    assert shown(target())[1] == ("2", "served", 100)


def test_old_versions_are_deleted_but_not_the_one_to_go_back_to(target, model, service):
    for c in "abcd":
        target(keep_last=1).push(model(c))
    assert list(service.models["cats-dogs"]) == ["3", "4"]


def test_an_endpoint_by_name_is_taken_and_display_names_are_not_looked_at(target, model, service):
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


def test_two_endpoints_with_the_label_are_not_chosen_from(target, model, service):
    target().push(model("a"))
    endpoint = {"display_name": "x", "labels": {"pawprint_model": "cats-dogs"}}
    at = "projects/my-project/locations/europe-west4"
    target()._service._endpoints.create_endpoint(parent=at, endpoint=endpoint).result()
    with pytest.raises(PushError, match=r"2 endpoints have the label .*name the right one as"):
        target().push(model("b"))


STEPS = {
    ":upload": r"uploading a version of .*/models/cats-dogs",
    "/endpoints": r"creating the endpoint .*/endpoints/cats-dogs",
    ":deployModel": r"deploying version 1 to .*/endpoints/cats-dogs",
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", [409, 429, 500])
def test_a_fault_that_passes_is_waited_out(step, status, target, model, service):
    service.fail(lambda r: r.method == "POST" and r.path.endswith(step), status, times=2)
    target().push(model("a"))
    assert shown(target()) == [("1", "served", 100)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (403, "the caller lacks a permission, or the API is not enabled; .* docs/push.md"),
        (409, "somebody else changed it at the same time; push again"),
        (429, "a quota is used up; try again later or ask for more"),
        (500, "the service failed; try again, what was done already is not done twice"),
    ],
)
def test_a_fault_that_stays_is_told_and_the_next_push_completes(
    step, status, advice, target, model, service
):
    service.fail(lambda r: r.method == "POST" and r.path.endswith(step), status, times=5)
    with pytest.raises(PushError, match=rf"{STEPS[step]} failed: {status} .*; {advice}"):
        target().push(model("a"))
    service.recover()
    target().push(model("a"))
    assert shown(target()) == [("1", "served", 100)]


@pytest.mark.parametrize("step", STEPS)
def test_an_answer_that_was_lost_makes_nothing_twice(step, target, model, service):
    service.operation_s = 0.2
    target().push(model("z"))
    if step == "/endpoints":
        service.endpoints.clear()
    service.lose(lambda r: r.method == "POST" and r.path.endswith(step), times=1)
    target().push(model("a"))
    assert shown(target()) == [("1", "kept", 0), ("2", "served", 100)]
    assert list(service.endpoints) == ["cats-dogs"] and deployed(service) == ["2"]


def test_lost_answers_to_changes_and_looks_are_asked_for_again(target, model, service):
    service.lose(lambda r: r.method in ("GET", "PATCH"), times=3)
    service.lose(lambda r: r.path.endswith(":mergeVersionAliases"), times=1)
    for c in "ab":
        target().push(model(c))
    service.lose(lambda r: r.path.endswith(":undeployModel"), times=1)
    assert target().rollback() == "1" and deployed(service) == ["1"]


@pytest.mark.parametrize(
    ("method", "step"), zip(["upload", "createEndpoint", "deployModel"], STEPS, strict=True)
)
def test_an_operation_that_fails_is_told(method, step, target, model, service):
    service.doom(method, "no machines of this type are left in the region")
    with pytest.raises(PushError, match=STEPS[step] + " failed: .*no machines of this type"):
        target().push(model("a"))
    target().push(model("a"))
    assert shown(target())[-1][1:] == ("served", 100)


def test_an_operation_that_never_ends_is_not_waited_for_without_end(target, model, service):
    target().push(model("a"))
    service.doom("deployModel", None)
    with pytest.raises(
        PushError, match=r"deploying .* has not ended within 1 s .*/operations/\d+: push"
    ):
        target(timeout_s=1).push(model("b"))
    assert shown(target()) == [("1", "served", 100), ("2", "kept", 0)]
    assert "version 2 answers nothing yet" in target().status().notes[0]


def test_what_is_missing_is_noticed_before_anything_is_sent(target, model, service, tmp_path):
    with pytest.raises(PushError, match=r"no SavedModel in .*: saved_model.pb is missing"):
        target().push(str(tmp_path))
    with pytest.raises(PushError, match=r"cannot read gs://buckett/models: .*does not exist"):
        target(models_at="gs://buckett/models").preflight()
    service.fail(lambda r: r.method == "GET", 403)
    with pytest.raises(PushError, match=r"listing the endpoints of .* failed: 403 .*permission"):
        target().preflight()
    assert not [r for r in service.requests if r.method == "POST"]


def test_credentials_and_an_answer_are_needed(target, monkeypatch, tmp_path):
    with pytest.raises(
        PushError, match=r"listing the endpoints of .* failed: no answer \(.*refused"
    ):
        target(api_endpoint="http://127.0.0.1:9", timeout_s=1).status()
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(PushError, match=r"^no credentials for .* run `gcloud auth"):
        target()


def test_nothing_can_be_promoted_before_the_first_push(target):
    assert target().status().notes == ("there is no endpoint yet; the first push creates it",)
    for act in (target().promote, target().rollback):
        with pytest.raises(PushError, match="nothing was pushed yet"):
            act()


def test_two_pushes_at_once(target, model, service):
    service.operation_s = 0.2
    target().push(model("z"))
    pushes, failed, targets = [], [], [target() for _ in range(4)]

    def push(one, content):
        try:
            pushes.append(one.push(model(content)))
        except PushError as error:
            failed.append(error)

    contents = zip(targets, "aabb", strict=True)
    threads = [threading.Thread(target=push, args=arguments) for arguments in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    target().push(model("b"))
    states = [state for _, state, _ in shown(target())]
    assert states.count("served") == 1 and deployed(service)[-1:] == deployed(service)
    identities = [v.labels["pawprint_push"] for v in service.models["cats-dogs"].values()]
    assert len(identities) == len(set(identities)) == 3, "doubles are gone"


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


def test_another_push_in_between_is_taken_into_account(target, model, service):
    target().push(model("z"))
    late = target(canary_percent=10)
    deploy = late._service.deploy

    def after_another(*arguments):
        late._service.deploy = deploy
        target().push(model("a"))  # undeploys what `late` is about to share the traffic with
        return deploy(*arguments)

    late._service.deploy = after_another
    late.push(model("b"))
    assert sorted(shown(target())[1:]) == [("2", "canary", 10), ("3", "served", 90)]


@pytest.fixture
def over_grpc(service, target, monkeypatch):
    """The target as it is for the real service: gRPC, but for the address and TLS."""
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


def test_the_same_goes_by_grpc_as_with_the_real_service(over_grpc, model, service):
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


_PUSH = """
import sys
from pipeline.push.options import VertexConfig
from pipeline.push.vertex import VertexTarget
VertexTarget(VertexConfig.model_validate_json(sys.argv[1])).push(sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "step"), zip(["upload", "createEndpoint", "deployModel"], STEPS, strict=True)
)
def test_a_killed_push_is_completed_by_the_next(method, step, target, model, service, options):
    service.doom(method, None)
    process = subprocess.Popen(
        [sys.executable, "-c", _PUSH, options().model_dump_json(), model("a")], cwd=REPOSITORY
    )
    while not sent(service, step):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    service.operation_s = 0.5
    service.end_operations(after_s=0.3)  # what the dead push began goes on
    target().push(model("a"))
    assert shown(target()) == [("1", "served", 100)] and deployed(service) == ["1"]


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
    """A record as the pipeline makes them, without the label."""
    import tensorflow as tf

    def feature(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    record = tf.train.Features(feature={"image": feature(photo)})
    return tf.train.Example(features=record).SerializeToString()
