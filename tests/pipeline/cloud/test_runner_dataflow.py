"""`runner_dataflow.py` from the user's side."""

import subprocess
import sys
import time

import pytest

import runner_dataflow
from tests.conftest import REPOSITORY
from tests.pipeline.cloud.settings import BUCKET, SETTINGS

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
