"""Pushes to AI Platform Prediction: the real client and TFX's runner against a stand-in."""

import base64
import subprocess
import sys
import threading
import time

import pytest

from pipeline.config.push import AiPlatformConfig
from pipeline.push import tfx_runner
from pipeline.push.ai_platform import AiPlatformTarget
from pipeline.push.target import PushError
from tests.conftest import REPOSITORY
from tests.standins.ai_platform import AiPlatformStandIn

MODEL = "projects/my-project/models/cats_dogs_classifier"


@pytest.fixture
def service(storage):
    with AiPlatformStandIn(storage) as stand_in:
        yield stand_in


@pytest.fixture
def options(service):
    def make(**settings) -> AiPlatformConfig:
        given = {
            "project": "my-project",
            "region": "us-central1",
            "models_at": "gs://bucket/models",
            "model": "cats_dogs_classifier",
            "labels": {"team": "pets"},
            "timeout_s": 60,
            "api_endpoint": service.url,
        }
        return AiPlatformConfig(**given | settings)

    return make


@pytest.fixture
def target(options, monkeypatch):
    monkeypatch.setattr(tfx_runner, "BACKOFF_S", 0.01)
    monkeypatch.setattr(tfx_runner, "POLL_S", 0.05)
    return lambda keep_last=5, **settings: AiPlatformTarget(options(**settings), keep_last)


def versions(service) -> dict[str, dict]:
    return service.models[MODEL]["versions"]


def creations(service) -> list:
    return [r for r in service.requests if r.method == "POST" and r.path.endswith("/versions")]


def states(target) -> list[str]:
    return [row.state for row in target.status().versions]


def test_a_push_does_what_gcloud_does_and_the_version_answers(target, model, service, storage):
    pushed = target().push(model("a"))
    assert pushed.destination == f"{MODEL}/versions/{pushed.version}", "TFX names the project twice"
    (version,) = versions(service).values()
    assert version["runtimeVersion"] == "2.11" and version["pythonVersion"] == "3.7"
    assert version["framework"] == "TENSORFLOW" and version["machineType"] == "n1-standard-2"
    assert version["labels"] == {"team": "pets"} and version["isDefault"]
    assert storage.names(f"{version['deploymentUri']}/") == ["saved_model.pb", "variables/v"]
    assert states(target()) == ["served"]
    assert target().status().versions[0].made.endswith("+00:00")


def test_the_same_model_is_pushed_once_and_another_becomes_the_default(target, model, service):
    first = target().push(model("a"))
    assert target().push(model("a")) == first and len(creations(service)) == 1
    second = target().push(model("b"))
    assert states(target()) == ["kept", "served"]
    assert target().push(model("a")) == first, "an older model again becomes the default again"
    assert names(target()) == [second.version, first.version] and len(creations(service)) == 2
    assert states(target()) == ["kept", "served"]
    with pytest.raises(PushError, match="no version waits for promotion"):
        target().promote()
    service.fail(lambda r: r.path.endswith(":setDefault"), 403)
    with pytest.raises(PushError, match="403"):
        target().rollback()
    service.recover()
    assert target().rollback() == second.version, "a rollback that died is completed by the next"
    assert states(target()) == ["served", "rolled back"]
    with pytest.raises(
        PushError, match=rf"is version {first.version} of .*, which was rolled back"
    ):
        target().push(model("a"))


def names(target) -> list[str]:
    return [row.name for row in target.status().versions]


def test_rollback_and_promote(target, model, service):
    pushed = [target().push(model(c)).version for c in "abc"]
    assert target().rollback() == pushed[1] and states(target()) == [
        "kept",
        "served",
        "rolled back",
    ]
    with pytest.raises(PushError, match=rf"is version {pushed[2]} of .*, which was rolled back"):
        target().push(model("c"))
    assert target().rollback() == pushed[0]
    with pytest.raises(PushError, match=r"precedes the default: nothing to roll back to"):
        target().rollback()
    with pytest.raises(PushError, match=r"no version waits for promotion"):
        target().promote()
    assert target().promote(pushed[2]) == pushed[2]
    assert states(target()) == ["kept", "rolled back", "served"]
    target().rollback(pushed[0])
    with pytest.raises(PushError, match=r"version v_\w+ is newer than the default: `promote` it"):
        target().rollback(pushed[2])
    with pytest.raises(PushError, match=r"no version 'v9' of .* is ready; there are: v_"):
        target().rollback("v9")


def test_a_version_can_wait_for_its_promotion(target, model):
    waits = {"set_default": False}
    target(**waits).push(model("a"))
    second = target(**waits).push(model("b")).version
    assert states(target()) == ["served", "kept"]
    assert target().promote() == second and states(target()) == ["kept", "served"]


def test_old_versions_are_deleted_but_not_the_one_served(target, model, service):
    for c in "abc":
        target(keep_last=2).push(model(c))
    assert len(versions(service)) == 2
    target().rollback()
    target(keep_last=1, set_default=False).push(model("d"))
    assert states(target()) == ["served", "rolled back", "kept"]
    target(keep_last=1).push(model("d"))
    assert states(target()) == ["kept", "rolled back", "served"], "there is one to go back to"
    with pytest.raises(PushError, match=r"is version v_\w+ of .*, which was rolled back"):
        target().push(model("c"))


def test_versions_of_concurrent_pushes_and_users_are_not_deleted(target, model, service):
    target().push(model("a"))
    waits = target(set_default=False).push(model("b")).version  # as a push that has not ended
    versions(service)["v1"] = versions(service)[waits] | {"name": f"{MODEL}/versions/v1"}
    for c in "cd":
        target(keep_last=1).push(model(c))
    assert states(target()) == ["kept", "kept", "kept", "served"]
    for name in (waits, "v1"):
        versions(service)[name]["createTime"] = "2020-01-01T00:00:00Z"
    target(keep_last=1).push(model("e"))
    assert names(target())[0] == "v1" and states(target()) == ["kept", "kept", "served"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_transient_error_is_retried(status, target, model, service):
    service.fail(lambda r: r.method == "POST" and r.path.endswith("/versions"), status, times=2)
    target().push(model("a"))
    assert states(target()) == ["served"] and len(creations(service)) == 3


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (403, "The account lacks a permission, or the API is not enabled: .* docs/push.md"),
        (429, "A quota is used up. Wait"),
        (500, "The service failed or did not answer. Try again"),
    ],
)
def test_a_permanent_error_is_reported(status, advice, target, model, service):
    service.fail(lambda r: r.method == "POST" and r.path.endswith("/versions"), status)
    told = rf"creating the version v_\w+ of cats_dogs_classifier failed: {status} told to fail. "
    with pytest.raises(PushError, match=told + advice):
        target().push(model("a"))
    assert versions(service) == {}


def test_no_permission_to_create_a_model_or_to_see_any(target, model, service):
    service.fail(lambda r: r.path.endswith("/models"), 403)
    with pytest.raises(PushError, match=r"creating the model cats_dogs_classifier failed: 403"):
        target().push(model("a"))
    service.fail(lambda r: r.method == "GET", 403)
    with pytest.raises(PushError, match=r"reading the methods of http://.* failed: 403"):
        target().preflight()


@pytest.mark.parametrize("what", ["/models", "/versions", ":setDefault"])
def test_a_lost_answer_creates_no_second_version(what, target, model, service):
    service.operation_s = 0.2
    service.lose(lambda r: r.method == "POST" and r.path.endswith(what), times=3)
    target().push(model("a"))
    assert states(target()) == ["served"], "ready, not only made"


def test_a_failed_creation_is_reported_and_repeated_by_the_next_push(target, model, service):
    service.doom("versions.create", "the model needs more memory than the machine has")
    with pytest.raises(PushError, match=r"creating the version .*more memory than the machine has"):
        target().push(model("a"))
    assert states(target()) == ["failed"]
    assert "pushing its model again creates it anew" in target().status().notes[0]
    target().push(model("a"))
    assert states(target()) == ["served"]


def test_a_creation_that_never_ends_times_out(target, model, service):
    service.doom("versions.create", None)
    with pytest.raises(PushError, match=r"did not end within 1 s \(timeout_s\) .*Push again"):
        target(timeout_s=1).push(model("a"))
    assert states(target()) == ["creating"]


def test_a_missing_model_is_found_before_any_change(target, service, tmp_path):
    with pytest.raises(PushError, match=r"no SavedModel in .*: saved_model.pb is missing"):
        target().push(str(tmp_path))
    assert not [r for r in service.requests if r.method == "POST"]


def test_a_missing_bucket_is_found_before_the_run(target):
    with pytest.raises(PushError, match=r"cannot read gs://buckett/models: .*does not exist"):
        target(models_at="gs://buckett/models").preflight()


def test_missing_credentials_name_the_login_command(target, monkeypatch, tmp_path):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(
        PushError, match=r"^no credentials for .* Run `gcloud auth application-default login`"
    ):
        target()


def test_an_address_without_a_server_is_an_error(target):
    with pytest.raises(
        PushError, match=r"connecting to http://127.0.0.1:9 failed: no answer \(.*refused"
    ):
        target(api_endpoint="http://127.0.0.1:9")
    with pytest.raises(
        PushError, match=r"connecting to http://no.invalid failed: no answer \(Unable"
    ):
        target(api_endpoint="http://no.invalid")


def test_concurrent_pushes(target, model, service):
    service.operation_s = 0.3
    pushes, targets = [], [target() for _ in range(4)]
    made = {content: model(content) for content in "ab"}  # whole before anybody reads them
    threads = [
        threading.Thread(target=lambda t=t, c=c: pushes.append(t.push(made[c])))
        for t, c in zip(targets, "aabb", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({p.version for p in pushes}) == len(versions(service)) == 2 and len(pushes) == 4
    assert sorted(states(target())) == ["kept", "served"]


_PUSH = """
import sys
from pipeline.push.ai_platform import AiPlatformTarget
from pipeline.config.push import AiPlatformConfig
AiPlatformTarget(AiPlatformConfig.model_validate_json(sys.argv[1])).push(sys.argv[2])
"""


@pytest.mark.slow
def test_a_killed_push_is_completed_by_the_next(target, model, service, options):
    service.doom("versions.create", None)
    process = subprocess.Popen(
        [sys.executable, "-c", _PUSH, options().model_dump_json(), model("a")], cwd=REPOSITORY
    )
    while not creations(service):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert states(target()) == ["creating"]
    service.end_operations(after_s=0.3)
    target().push(model("a"))
    assert states(target()) == ["served"] and len(creations(service)) == 1


@pytest.mark.slow
def test_the_pushed_model_answers_with_its_prediction(target, service, pushed_run, photos):
    target().push(str(pushed_run.root / "serving" / "1"))
    photo = base64.b64encode(next(photos.glob("cat/*.jpg")).read_bytes()).decode()
    body = {"signature_name": "serving_jpeg", "instances": [{"b64": photo}]}
    api = tfx_runner.connect(target()._options, float("inf"))
    answer = api.projects().predict(name=MODEL, body=body).execute()
    assert set(answer["predictions"][0]) == {"label", "label_index", "probabilities"}
