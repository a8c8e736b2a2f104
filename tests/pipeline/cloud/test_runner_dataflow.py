"""The command line of `runner_dataflow.py`."""

import json
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from tfx import v1 as tfx

import runner_dataflow
from pipeline.cloud.errors import CloudError
from pipeline.run.run_folder import locked_root
from tests.conftest import REPOSITORY
from tests.pipeline.cloud.conftest import on_dataflow
from tests.pipeline.cloud.settings import BUCKET, SETTINGS
from tests.standins.vertex_metadata import MetadataStore
from tests.standins.vertex_pipelines import TaskRun

_RECORDS = ("--tfrecords", "gs://b/r")
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
        (
            ("plan", "--set", "cloud.image=a/b:latest"),
            "`latest` changes without a change of the cache key",
        ),
        (("submit", "--tfrecords", "records"), "gcloud storage cp -r records gs://"),
        (("submit", *_RECORDS, "--budget", "1"), "above the budget of 1.00 USD"),
        (
            ("submit", *_RECORDS, "--budget", "9", "--set", "cloud.training=null"),
            "no bound: training",
        ),
        (("submit", *_RECORDS, "--budget", "nan"), "expected an amount above 0. Received: nan"),
        (("submit", *_RECORDS, "--budget", "much"), "expected an amount above 0. Received: much"),
        (("beam", *_RECORDS, "--budget", "1"), "above the budget of 1.00 USD"),
        (("submit",), "one of the arguments --images --csv --tfrecords is required"),
        (("submit", *_RECORDS, "--schedule", "0 3 * * 1", "--wait"), "--wait is for one run"),
        (("submit", *_RECORDS, "--schedule", "every monday"), "2 fields; expected 5: minute"),
        (("compile", *_RECORDS, "-o", "/no/such/folder/x.json"), "is not a writable folder"),
        (("status", "a b"), "'a b' is not a run id"),
        (("cancel", "a/b"), "'a/b' is not a run id"),
    ],
)
def test_errors_are_reported_before_anything_is_sent(arguments, told, capsys, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("something was sent"))
    try:
        status = runner_dataflow.main(list(arguments))
    except SystemExit as left:  # argparse
        status = left.code
    assert status == 2
    assert told in capsys.readouterr().err


def test_the_plan_tells_what_is_used_and_what_it_costs(cloud, capsys):
    status = runner_dataflow.main(["plan", "--config", "conf/production.yaml", *_SET])
    told = capsys.readouterr().out
    assert status == 0
    assert f"gs://{BUCKET}  exists" in told
    assert "chief: 1 x n1-standard-16 + 4 NVIDIA_TESLA_T4" in told
    assert "one run costs at most 16.01 USD" in told
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


def test_photos_of_this_machine_are_converted_here(cloud, photos, capsys):
    assert runner_dataflow.main(["plan", *_SET, "--images", str(photos)]) == 0
    told = capsys.readouterr().out
    assert "conversion" not in told
    assert "4 jobs x 2 h" in told


def test_a_plan_without_credentials_says_what_it_did_not_check(capsys, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    assert runner_dataflow.main(["plan", *_SET]) == 0
    assert "not checked: cannot read the bucket" in capsys.readouterr().out


def test_a_missing_bucket_stops_a_submission(cloud, capsys):
    del cloud.storage.buckets[BUCKET]
    source = ["--tfrecords", f"gs://{BUCKET}/records"]
    assert runner_dataflow.main(["submit", *_SET, *source]) == 1
    told = capsys.readouterr().err
    assert f"gcloud storage buckets create gs://{BUCKET} --project=my-project" in told
    assert cloud.vertex.requests == []


def test_an_unknown_run_is_an_error(cloud, capsys):
    endpoint = ["--set", f"cloud.endpoint={cloud.vertex.url}"]
    assert runner_dataflow.main(["status", *_SET, *endpoint, "nope-1"]) == 1
    assert (
        "error: cannot read the run nope-1: The PipelineJob nope-1 does not exist"
        in capsys.readouterr().err
    )


def test_an_interrupted_wait_says_that_the_run_goes_on(cloud, spec, monkeypatch):
    from pipeline.vertex import commands, runs

    def interrupted(*_):
        raise KeyboardInterrupt

    run = runs.submit(cloud.config(), spec)
    monkeypatch.setattr(commands.time, "sleep", interrupted)
    with pytest.raises(CloudError, match=f"the run {run} continues; .*`cancel {run}` cancels it"):
        commands._wait(cloud.config(), run, SimpleNamespace(line=print))


class _Target:
    """A push target whose preflight returns a known value."""

    def preflight(self) -> str:
        return "holds version 7"


def _end(service, pushed: bool):
    """Makes the next submitted run succeed."""
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
    from pipeline.vertex import commands

    monkeypatch.setattr(commands, "make_target", lambda *_: _Target())
    monkeypatch.setattr(commands, "_POLL_S", 0.2)
    wait = commands._wait

    def wait_beside_another(*given):
        with locked_root(tmp_path):
            return wait(*given)

    monkeypatch.setattr(commands, "_wait", wait_beside_another)
    arguments = ["submit", *_SET, "--images", str(photos), "--wait", "--budget", "50"]
    for setting in (f"root={tmp_path}", f"cloud.endpoint={cloud.vertex.url}", "push.keep_last=3"):
        arguments += ["--set", setting]
    threading.Thread(target=_end, args=(cloud.vertex, pushed), daemon=True).start()
    status = runner_dataflow.main(arguments)
    told = capfd.readouterr().out
    assert status == (0 if pushed else 3)
    assert "80 records: cat 40, dog 40 in gs://my-bucket/pawprint/records/" in told
    assert "one run costs at most" in told
    assert "Transform" in told and "cached" in told
    assert ("pushed endpoint/7" if pushed else "a gate refused the model") in told
    names = cloud.storage.names(f"gs://{BUCKET}/pawprint/records/")
    assert any(name.endswith("manifest.json") for name in names)
    ((run, job),) = cloud.vertex.jobs.items()
    assert f"run {run} started" in told
    assert "holds version 7" in json.dumps(job)
    pusher = job["pipelineSpec"]["root"]["dag"]["tasks"]["Pusher"]["inputs"]["parameters"]
    settings = json.loads(pusher["custom_config"]["runtimeValue"]["constant"])
    assert settings["options"]["vertex"]["labels"]["application"] == "pawprint"
    (spec,) = (tmp_path / "runs").glob("*/pipeline.json")
    assert json.loads(spec.read_text())["pipelineSpec"] == job["pipelineSpec"]


@tfx.dsl.components.component
def Stopped():
    """Stops like Ctrl-C."""
    raise KeyboardInterrupt


def test_an_interrupted_local_orchestration_leaves_no_job(
    cloud, dataflow, photos, tmp_path, monkeypatch, capfd
):
    def stopped(config, *_):
        (run,) = (tmp_path / "runs").iterdir()
        for job, name in (("1", f"transform-pawprint-{run.name}"), ("2", "transform-other")):
            made = {"id": job, "projectId": "my-project", "location": "us-central1"}
            dataflow.jobs[job] = made | {"name": name}
            dataflow.states[job] = "JOB_STATE_RUNNING"
        return tfx.dsl.Pipeline(
            pipeline_name="pawprint",
            pipeline_root=str(tmp_path / "pipeline"),
            components=[Stopped()],
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
                f"{tmp_path}/metadata.sqlite"
            ),
        )

    monkeypatch.setattr("pipeline.run.local_run.make_target", lambda *_: _Target())
    monkeypatch.setattr("pipeline.pipeline.create_pipeline", stopped)
    arguments = ["beam", *_SET, "--images", str(photos)]
    settings = (f"root={tmp_path}", f"cloud.endpoint={cloud.vertex.url}", on_dataflow(dataflow))
    arguments += [f"--set={setting}" for setting in settings]
    assert runner_dataflow.main(arguments) == 1
    told = capfd.readouterr().out
    assert "error: Stopped failed: interrupted; the same command resumes" in told
    assert "  Dataflow job 1 is being cancelled" in told
    assert dataflow.states == {"1": "JOB_STATE_CANCELLED", "2": "JOB_STATE_RUNNING"}
