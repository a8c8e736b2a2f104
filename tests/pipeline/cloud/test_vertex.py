"""Runs and schedules, through Google's client against a stand-in of Vertex AI."""

import json
import re
import time

import pytest

from pipeline.cloud.errors import CloudError
from pipeline.vertex import runs, status
from tests.pipeline.cloud.settings import BUCKET, PROJECT, REGION
from tests.standins.vertex_metadata import MetadataStore
from tests.standins.vertex_pipelines import TaskRun

_FAIL_FAST = 2  # PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_FAST


def test_a_run_is_sent_with_labels_account_and_network(cloud, spec):
    network = "projects/123/global/networks/main"
    config = cloud.config("cloud.labels={team: cats}", f"cloud.network={network}")
    run = runs.submit(config, spec)
    assert re.fullmatch(r"pawprint-\d{14}", run)
    job = cloud.vertex.jobs[run]
    assert job["name"] == f"projects/{PROJECT}/locations/{REGION}/pipelineJobs/{run}"
    assert job["serviceAccount"] == config.cloud.service_account
    assert job["network"] == network
    # A failed task ends the run: others would train, and cost, for nothing.
    assert job["runtimeConfig"]["failurePolicy"] == _FAIL_FAST
    expected = {"application": "pawprint", "pipeline": "pawprint", "team": "cats"}
    assert expected.items() <= job["labels"].items()
    assert job["pipelineSpec"] == json.loads(spec.read_text())["pipelineSpec"]


def test_a_schedule_starts_such_runs_and_is_deleted(cloud, spec):
    config = cloud.config()
    made = runs.schedule(config, spec, "TZ=Europe/Berlin 0 3 * * 1")
    schedule = cloud.vertex.schedules[made]
    assert schedule["cron"] == "TZ=Europe/Berlin 0 3 * * 1"
    assert schedule["maxConcurrentRunCount"] == "1"
    asked = schedule["createPipelineJobRequest"]["pipelineJob"]
    assert asked["serviceAccount"] == config.cloud.service_account
    assert asked["runtimeConfig"]["failurePolicy"] == _FAIL_FAST
    assert runs.cancel(config, made)[0].startswith(f"schedule {made} deleted")
    assert cloud.vertex.schedules == {}


def test_a_schedule_whose_answer_was_lost_is_found(cloud, spec):
    config = cloud.config()
    earlier = runs.schedule(config, spec, "0 3 * * 1")
    cloud.vertex.schedules[earlier]["displayName"] = "pawprint-20200101000000"
    cloud.vertex.lose_answers = 1
    made = runs.schedule(config, spec, "0 3 * * 1")
    assert [*cloud.vertex.schedules] == [earlier, made]


def test_a_slow_cancellation_is_reported(cloud, spec, monkeypatch):
    monkeypatch.setattr(runs, "_CANCEL_S", 0)
    config = cloud.config("cloud.dataflow=null")
    run = runs.submit(config, spec)
    (told,) = runs.cancel(config, run)
    assert f"run {run} is being cancelled; repeat the command" in told
    assert status.read(config, runs.get(config, run)).state == "being cancelled"


def test_a_run_whose_answer_was_lost_is_found(cloud, spec):
    cloud.vertex.lose_answers = 1
    run = runs.submit(cloud.config(), spec)
    assert [*cloud.vertex.jobs] == [run]


@pytest.mark.parametrize(
    "answer, told",
    [
        ((401, "UNAUTHENTICATED", "Request had invalid credentials."), "gcloud auth"),
        ((403, "PERMISSION_DENIED", "aiplatform.pipelineJobs.create"), "docs/production.md"),
        (
            (429, "RESOURCE_EXHAUSTED", "Quota exceeded for custom_model_training_nvidia_t4_gpus"),
            "cannot submit the run: Quota exceeded .*us-central1.* A quota is used up",
        ),
        (
            (404, "NOT_FOUND", "no such project"),
            r"no such project \(project my-project, region us-central1\)",
        ),
        ((400, "INVALID_ARGUMENT", "Unknown field"), "cannot submit the run: .*Unknown field"),
        ((500, "INTERNAL", "oops"), "no answer from Google Cloud: .* Try again"),
    ],
)
def test_a_refused_request_says_what_to_do(cloud, spec, answer, told):
    cloud.vertex.refuse(*answer, times=3 if answer[0] == 401 else 1)  # the client asks again
    with pytest.raises(CloudError, match=told) as raised:
        runs.submit(cloud.config(), spec)
    assert str(raised.value).startswith("cannot submit the run: ")
    assert cloud.vertex.jobs == {}


def test_without_credentials_the_login_is_named(cloud, spec, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    with pytest.raises(CloudError, match=r"no credentials\. Run `gcloud auth application-default"):
        runs.submit(cloud.config(), spec)


def test_expired_credentials_are_reported_at_once_over_grpc(cloud, spec):
    cloud.tokens.expired = True
    config = cloud.config("cloud.endpoint=localhost:1")
    started = time.monotonic()
    for ask in (runs.get, runs.cancel, lambda *_: runs.submit(config, spec)):
        with pytest.raises(CloudError, match=r"expired or were revoked\. .*gcloud auth"):
            ask(config, "pawprint-1")
    assert time.monotonic() - started < 30


def test_an_unknown_run_is_an_error(cloud):
    with pytest.raises(CloudError, match=r"cannot read the run nope: .*nope does not exist"):
        runs.get(cloud.config(), "nope")


def test_the_failed_task_and_its_log_are_named(cloud, spec, tmp_path):
    config = cloud.config()
    run = runs.submit(config, spec)
    log = tmp_path / "7" / "log.txt"
    cloud.vertex.set_state(
        run,
        "PIPELINE_STATE_FAILED",
        TaskRun("ImportExampleGen", "SKIPPED"),
        TaskRun("Trainer", "FAILED", log=log, error="The replica exited with status 1."),
        TaskRun("Evaluator", "NOT_TRIGGERED"),
        message="The DAG failed because some tasks failed. The failed tasks are: [Trainer].",
    )
    found = status.read(config, runs.get(config, run))
    assert {task.name: task.state for task in found.tasks} == {
        "ImportExampleGen": "cached",
        "Trainer": "failed",
        "Evaluator": "not started",
    }
    text = found.text()
    assert f"run {run}: failed" in text
    assert "error: Trainer failed: The replica exited with status 1." in text
    assert (
        'log: https://console.cloud.google.com/logs/query;query=resource.labels.job_id%3D"7"'
        in text
    )


@pytest.mark.parametrize(
    "error, told",
    [
        ("Failed to pull image x:1: manifest unknown", "docs/images.md"),
        ("RESOURCE_EXHAUSTED: quota exceeded", "plan` lists the required quotas"),
    ],
)
def test_a_task_without_image_or_quota_is_explained(cloud, spec, error, told):
    config = cloud.config()
    run = runs.submit(config, spec)
    failed = TaskRun("Transform", "FAILED", error=error)
    cloud.vertex.set_state(run, "PIPELINE_STATE_FAILED", failed)
    assert told in status.read(config, runs.get(config, run)).text()


def row(metric, passed):
    """A bound of gate 1, as verdict.json has it."""
    kept = {"slice": "overall", "kind": "value", "value": 0.5, "interval": None, "note": ""}
    return kept | {"metric": metric, "bound": ">= 0.8", "baseline": None, "passed": passed}


def judged(cloud, passed):
    """The tasks of both gates, whose verdicts lie in the bucket."""
    quality = {
        "passed": passed,
        "forced": None,
        "baseline": None,
        "rows": [row("auc", True), row("accuracy", passed)],
    }
    serving = {"passed": True, "checks": []}
    tasks = []
    for name, verdict in (("QualityGate", quality), ("ServingCheck", serving)):
        uri = f"gs://{BUCKET}/pawprint/{name}"
        cloud.storage.put(f"{uri}/verdict.json", json.dumps(verdict).encode())
        blessing = MetadataStore("here").new("title: tfx.ModelBlessing", uri, "pawprint")
        tasks.append(TaskRun(name, "SUCCEEDED", outputs={"blessing": [blessing]}))
    return tasks


def test_a_refusal_is_explained_by_the_gates_verdicts(cloud, spec):
    config = cloud.config()
    run = runs.submit(config, spec)
    cloud.vertex.set_state(run, "PIPELINE_STATE_SUCCEEDED", *judged(cloud, passed=False))
    text = status.read(config, runs.get(config, run)).text()
    assert "Quality gate: REFUSED" in text
    failed, passed = (text.index(name) for name in ("accuracy", "auc"))
    assert failed < passed
    assert "FAILED" in text[failed:passed]
    assert "a gate refused the model" in text


def test_a_refusal_without_readable_verdicts(cloud, spec):
    config = cloud.config()
    run = runs.submit(config, spec)
    tasks = judged(cloud, passed=False)
    cloud.storage.buckets[BUCKET].clear()
    cloud.vertex.set_state(run, "PIPELINE_STATE_SUCCEEDED", *tasks)
    assert "a gate refused the model" in status.read(config, runs.get(config, run)).text()
