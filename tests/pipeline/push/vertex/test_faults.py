"""Errors of Vertex AI: reported, retried, and completed by the next push."""

import re
import subprocess
import sys
import threading
import time

import pytest
import requests
from google.auth.exceptions import RefreshError

from pipeline.push.target import PushError
from tests.conftest import REPOSITORY
from tests.pipeline.push.vertex.holds import deployed, sent, shown


def test_a_failed_clean_up_does_not_fail_a_push(target, model, service, caplog):
    target(keep_last=1).push(model("a"))
    service.fail(lambda r: r.path.endswith(":undeployModel") or r.method == "DELETE", 403)
    for c in "bcd":
        target(keep_last=1).push(model(c))
    assert "undeploying" in caplog.text and "deleting version 1" in caplog.text
    assert deployed(service) == ["1", "2", "3", "4"]
    assert "version 3 is deployed without traffic; the next push" in target().status().notes[-1]
    service.recover()
    target(keep_last=1).push(model("d"))
    assert deployed(service) == ["4"] and list(service.models["cats-dogs"]) == ["3", "4"]


STEPS = {
    ":upload": r"uploading a version of .*/models/cats-dogs",
    "/endpoints": r"creating the endpoint .*/endpoints/cats-dogs",
    ":deployModel": r"deploying version 1 to .*/endpoints/cats-dogs",
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", [409, 429, 500])
def test_a_transient_error_is_retried(step, status, target, model, service):
    service.fail(lambda r: r.method == "POST" and r.path.endswith(step), status, times=2)
    target().push(model("a"))
    assert shown(target()) == [("1", "served", 100)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (403, "The account lacks a permission, or the API is not enabled: .* docs/push.md"),
        (409, "Another request changed it at the same time. Try again"),
        (429, "A quota is used up. Wait, use fewer machines, or request more"),
        (500, "The service failed or did not answer. Try again: completed steps are not repeated"),
    ],
)
def test_a_permanent_error_is_reported_and_the_next_push_completes(
    step, status, advice, target, model, service
):
    service.fail(lambda r: r.method == "POST" and r.path.endswith(step), status, times=5)
    with pytest.raises(PushError, match=rf"{STEPS[step]} failed: {status} .*\. {advice}"):
        target().push(model("a"))
    service.recover()
    target().push(model("a"))
    assert shown(target()) == [("1", "served", 100)]


@pytest.mark.parametrize("step", STEPS)
def test_a_lost_answer_creates_nothing_twice(step, target, model, service):
    service.operation_s = 0.2
    target().push(model("z"))
    if step == "/endpoints":
        service.endpoints.clear()
    service.lose(lambda r: r.method == "POST" and r.path.endswith(step), times=1)
    target().push(model("a"))
    assert shown(target()) == [("1", "kept", 0), ("2", "served", 100)]
    assert list(service.endpoints) == ["cats-dogs"] and deployed(service) == ["2"]


def test_reads_and_updates_are_retried_after_a_lost_answer(target, model, service):
    service.lose(lambda r: r.method in ("GET", "PATCH"), times=3)
    service.lose(lambda r: r.path.endswith(":mergeVersionAliases"), times=1)
    for c in "ab":
        target().push(model(c))
    service.lose(lambda r: r.path.endswith(":undeployModel"), times=1)
    assert target().rollback() == "1" and deployed(service) == ["1"]


@pytest.mark.parametrize(
    ("method", "step"), zip(["upload", "createEndpoint", "deployModel"], STEPS, strict=True)
)
def test_a_failed_operation_is_reported(method, step, target, model, service):
    service.doom(method, "no machines of this type are left in the region")
    with pytest.raises(PushError, match=STEPS[step] + " failed: .*no machines of this type"):
        target().push(model("a"))
    target().push(model("a"))
    assert shown(target())[-1][1:] == ("served", 100)


def test_an_operation_that_never_ends_times_out(target, model, service):
    target().push(model("a"))
    service.doom("deployModel", None)
    with pytest.raises(
        PushError, match=r"deploying .* did not end within 1 s .*/operations/\d+\. Push"
    ):
        target(timeout_s=1).push(model("b"))
    assert shown(target()) == [("1", "served", 100), ("2", "kept", 0)]
    assert "version 2 has no traffic" in target().status().notes[0]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RefreshError("expired"), "no credentials for Google Cloud: expired"),
        (requests.exceptions.ChunkedEncodingError("cut"), r"undeploying .* no answer \(cut\)"),
    ],
)
def test_an_error_while_waiting_for_an_operation_is_reported(
    error, told, target, model, service, monkeypatch, caplog
):
    target().push(model("a"))
    late = target()

    def undeploy(*arguments, **options):
        answer = real(*arguments, **options)
        monkeypatch.setattr(answer, "result", result)
        return answer

    def result(**options):
        raise error

    real = late._service._endpoints.undeploy_model
    monkeypatch.setattr(late._service._endpoints, "undeploy_model", undeploy)
    late.push(model("b"))
    assert re.search(told, caplog.text)
    assert shown(target()) == [("1", "kept", 0), ("2", "served", 100)]


def test_a_missing_model_or_bucket_is_found_before_any_change(target, model, service, tmp_path):
    with pytest.raises(PushError, match=r"no SavedModel in .*: saved_model.pb is missing"):
        target().push(str(tmp_path))
    with pytest.raises(PushError, match=r"cannot read gs://buckett/models: .*does not exist"):
        target(models_at="gs://buckett/models").preflight()
    service.fail(lambda r: r.method == "GET", 403)
    with pytest.raises(PushError, match=r"listing the endpoints of .* failed: 403 .*permission"):
        target().preflight()
    assert not [r for r in service.requests if r.method == "POST"]


def test_errors_without_an_answer_or_credentials(target, monkeypatch, tmp_path):
    with pytest.raises(
        PushError, match=r"listing the endpoints of .* failed: no answer \(.*refused"
    ):
        target(api_endpoint="http://127.0.0.1:9", timeout_s=1).status()
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(PushError, match=r"^no credentials for .* Run `gcloud auth"):
        target()


def test_concurrent_pushes(target, model, service):
    service.operation_s = 0.2
    target().push(model("z"))
    pushes, failed, targets = [], [], [target() for _ in range(4)]
    made = {content: model(content) for content in "ab"}  # whole before anybody reads them

    def push(one, content):
        try:
            pushes.append(one.push(made[content]))
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


def test_a_duplicate_is_deleted_even_if_it_precedes_the_served_version(target, model, service):
    for content in "za":
        target().push(model(content))
    versions = service.models["cats-dogs"]
    double = versions["3"] = type(versions["2"])(versions["2"])
    double.version_id, double.version_aliases = "3", []
    service._last_version["cats-dogs"] = 3
    target().push(model("b"))
    assert shown(target()) == [("1", "kept", 0), ("2", "kept", 0), ("4", "served", 100)]


def test_versions_that_somebody_else_registered_are_left_alone(target, model, service):
    for content in "abcde":
        target().push(model(content))
    for number in "23":
        service.models["cats-dogs"][number].labels.clear()
    target(keep_last=1).push(model("f"))
    assert list(service.models["cats-dogs"]) == ["2", "3", "5", "6"]


def test_a_concurrent_push_changes_the_traffic_split(target, model, service):
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


_PUSH = """
import sys
from pipeline.config.push import VertexConfig
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
