"""`runner_dataflow.py` from the user's side."""

import json
import subprocess
import sys
import threading
import time

import pytest

import runner_dataflow
from tests.conftest import REPOSITORY
from tests.pipeline.cloud.settings import BUCKET, SETTINGS
from tests.standins.vertex_metadata import MetadataStore
from tests.standins.vertex_pipelines import TaskRun

_SET = [argument for setting in SETTINGS for argument in ("--set", setting)]


def run(*arguments, **options):
    """In a process of its own."""
    command = [sys.executable, "runner_dataflow.py", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, **options
    )


@pytest.mark.parametrize("command", [(), ("plan",), ("submit",), ("status",)])
def test_help_is_instant(command):
    started = time.monotonic()
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "usage: runner_dataflow.py" in done.stdout
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("plan", "--set", "cloud.regoin=x"), "did you mean cloud.region?"),
        (("plan", "--config", "conf/local.yaml"), "has no section cloud"),
        (("plan", "--set", "cloud.image=a/b:latest"), "`latest` is another image tomorrow"),
        (("submit", "--tfrecords", "records"), "gcloud storage cp -r records gs://"),
        (("submit", "--tfrecords", "gs://b/r", "--budget", "1"), "above the budget of 1.00 USD"),
        (("submit",), "one of the arguments --images --csv --tfrecords is required"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(arguments, told):
    done = run(*arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_the_plan_tells_what_is_used_and_what_it_costs(cloud, capsys):
    status = runner_dataflow.main(["plan", "--config", "conf/production.yaml", *_SET])
    told = capsys.readouterr().out
    assert status == 0
    assert f"gs://{BUCKET}  exists" in told
    assert "chief: 1 x n1-standard-16 + 4 NVIDIA_TESLA_T4" in told
    assert "one run costs at most 15.67 USD" in told
    assert "custom_model_training_nvidia_t4_gpus of at least 4 in us-central1" in told
    assert "then 2.62 USD a day for the deployed model, 1 x n1-standard-2" in told
    assert "nothing was sent" in told
    assert cloud.vertex.requests == []


def test_photos_to_convert_are_in_the_plan(cloud, capsys):
    source = ["--images", f"gs://{BUCKET}/photos"]
    assert runner_dataflow.main(["plan", *_SET, *source]) == 0
    told = capsys.readouterr().out
    assert "the conversion, ImportExampleGen" in told
    assert "5 jobs x 2 h" in told


def test_a_plan_without_credentials_says_what_it_did_not_look_at(capsys, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    assert runner_dataflow.main(["plan", *_SET]) == 0
    assert "not checked: cannot look at" in capsys.readouterr().out


def test_a_missing_bucket_stops_a_submission(cloud, capsys):
    del cloud.storage.buckets[BUCKET]
    source = ["--tfrecords", f"gs://{BUCKET}/records"]
    assert runner_dataflow.main(["submit", *_SET, *source]) == 1
    told = capsys.readouterr().err
    assert f"gcloud storage buckets create gs://{BUCKET} --project=my-project" in told
    assert cloud.vertex.requests == []


def test_an_unknown_run_is_told(cloud, capsys):
    endpoint = ["--set", f"cloud.endpoint={cloud.vertex.url}"]
    assert runner_dataflow.main(["status", *_SET, *endpoint, "nope-1"]) == 1
    assert "error: cannot read the run nope-1: not found" in capsys.readouterr().err


class _Target:
    """A place to push to, which the submission asks what it holds."""

    def preflight(self) -> str:
        return "holds version 7"


def _end(service, pushed: bool):
    """Lets the run that is submitted next succeed."""
    while not service.jobs:
        time.sleep(0.1)
    (run,) = service.jobs
    artifact = MetadataStore("here").new("title: tfx.PushedModel", "gs://b/pushed", "pawprint")
    artifact.metadata |= {"pushed": float(pushed), "pushed_destination": "endpoint/7"}
    pusher = TaskRun("Pusher", "SUCCEEDED", outputs={"pushed_model": [artifact]})
    service.set_state(run, "PIPELINE_STATE_RUNNING", TaskRun("Transform", "SKIPPED"))
    service.set_state(run, "PIPELINE_STATE_SUCCEEDED", TaskRun("Transform", "SKIPPED"), pusher)


@pytest.mark.parametrize("pushed", [True, False])
def test_photos_are_converted_compiled_submitted_and_waited_for(
    cloud, photos, tmp_path, monkeypatch, capfd, pushed
):
    from pipeline.cloud import commands

    monkeypatch.setattr(commands, "make_target", lambda *_: _Target())
    monkeypatch.setattr(commands, "_POLL_S", 0.2)
    arguments = ["submit", *_SET, "--images", str(photos), "--wait", "--budget", "50"]
    for setting in (f"root={tmp_path}", f"cloud.endpoint={cloud.vertex.url}", "push.keep_last=3"):
        arguments += ["--set", setting]
    threading.Thread(target=_end, args=(cloud.vertex, pushed), daemon=True).start()
    status = runner_dataflow.main(arguments)
    told = capfd.readouterr().out
    assert status == (0 if pushed else 3)
    assert "80 in gs://my-bucket/pawprint/records/" in told
    assert "started; it costs at most" in told
    assert "Transform" in told and "cached" in told
    assert ("pushed endpoint/7" if pushed else "a gate refused the model") in told
    names = cloud.storage.names(f"gs://{BUCKET}/pawprint/records/")
    assert any(name.endswith("manifest.json") for name in names)
    ((run, job),) = cloud.vertex.jobs.items()
    assert f"run {run} started" in told
    assert "holds version 7" in json.dumps(job)
    (spec,) = (tmp_path / "runs").glob("*/pipeline.json")
    assert json.loads(spec.read_text())["pipelineSpec"] == job["pipelineSpec"]
