"""Jobs of a run are named after it and cancelled with it."""

import json
import re
import time

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto.orchestration import pipeline_pb2
from tfx.utils import json_utils

from pipeline import placement
from pipeline.cloud import dataflow, jobs
from pipeline.cloud.errors import CloudError
from pipeline.components import google_executors
from pipeline.components.evaluator import RecordingEvaluator
from pipeline.vertex import compiled, runs
from tests.pipeline.cloud.conftest import on_dataflow
from tests.pipeline.cloud.settings import PROJECT, REGION, cloud_config
from tests.standins.vertex_pipelines import PipelinesStandIn
from tests.standins.vertex_service import VertexStandIn

RUN = "pawprint-20260101000000"
AT = f"projects/{PROJECT}/locations/{REGION}"


def on_vertex(run: str, **options) -> BaseBeamExecutor.Context:
    """The context that TFX's entry point on Vertex AI gives an executor."""
    folder = f"gs://bucket/pawprint/pipeline/1234/{run}/Task_5/.temp"
    return BaseBeamExecutor.Context(tmp_dir=folder, unique_id="Task_5", **options)


def from_here(run: str, **options) -> BaseBeamExecutor.Context:
    """The context that the local DAG runner gives an executor."""
    name, _, run = run.rpartition("-")
    info = pipeline_pb2.PipelineInfo(id=name)
    return BaseBeamExecutor.Context(pipeline_info=info, pipeline_run_id=run, **options)


@pytest.mark.parametrize("context", [on_vertex, from_here])
@pytest.mark.parametrize("component", dataflow.COMPONENTS)
def test_a_job_on_dataflow_is_named_after_component_and_run(component, context):
    flags = placement.beam_arguments(cloud_config("cloud.labels={team: cats}"))
    made = getattr(google_executors, component)(context(RUN, beam_pipeline_args=flags))
    options = PipelineOptions(made._beam_pipeline_args).view_as(GoogleCloudOptions)
    assert options.job_name == f"{component.lower()}-{RUN}"
    assert {f"run={RUN}", "team=cats", "application=pawprint"} < {*options.labels}


@pytest.mark.parametrize("context", [on_vertex, from_here])
def test_a_training_job_is_labelled_with_its_run(context, monkeypatch):
    sent = []
    monkeypatch.setattr(
        google_executors.trainer.runner, "start_cloud_training", lambda *a, **_: sent.append(a)
    )
    settings = placement.training_job(cloud_config("cloud.labels={team: cats}"))
    google_executors.Trainer(context(RUN)).Do({}, {}, {"custom_config": json_utils.dumps(settings)})
    ((_, _, _, _, job, *_),) = sent
    assert job["labels"] == {
        "application": "pawprint",
        "pipeline": "pawprint",
        "team": "cats",
        "run": RUN,
    }


def test_long_run_ids_give_valid_names():
    run = f"{'1-' * 60}20260101000000"
    assert re.fullmatch(r"[a-z0-9_-]{63}", jobs.label_value(run))
    names = {jobs.dataflow_job_name(component, run) for component in dataflow.COMPONENTS}
    assert len(names) == 4
    for name in names:
        assert re.fullmatch(r"[a-z][-a-z0-9]{0,61}[a-z0-9]", name)
        assert name.endswith("-20260101000000")


def test_the_spec_does_not_change_with_the_run(spec):
    """A spec that changed would defeat the cache."""
    again = compiled.compile_pipeline(cloud_config())
    assert again == json.loads(spec.read_text())
    deployed = again["pipelineSpec"]["deploymentSpec"]["executors"]
    for name in (*dataflow.COMPONENTS, "Trainer"):
        arguments = deployed[f"{name}_executor"]["container"]["args"]
        assert f"pipeline.components.google_executors.{name}" in arguments
        assert not any("--job_name" in argument for argument in arguments)


@pytest.fixture
def under_way(cloud, dataflow, spec, tmp_path, monkeypatch):
    """A run whose containers only sleep: its config, its service and its id."""
    monkeypatch.setattr(runs, "_POLL_S", 0.1)
    job = json.loads(spec.read_text())
    for executor in job["pipelineSpec"]["deploymentSpec"]["executors"].values():
        if "container" in executor:
            executor["container"] = {"image": "x", "command": ["sleep", "600"]}
    staying = tmp_path / "staying.json"
    staying.write_text(json.dumps(job))
    containers = PipelinesStandIn(tmp_path / "containers", {"my-bucket": tmp_path / "bucket"})
    with VertexStandIn(containers) as service:
        config = cloud.config(on_dataflow(dataflow), f"cloud.endpoint={service.url}")
        run = runs.submit(config, staying)
        while not containers.commands:
            time.sleep(0.05)
        yield config, service, run


def test_a_cancelled_run_leaves_no_job(under_way, dataflow, monkeypatch):
    config, service, run = under_way
    for number, (name, of) in enumerate([("transform", run), ("transform", RUN), ("other", run)]):
        made = {"id": str(number), "projectId": PROJECT, "location": REGION}
        dataflow.jobs[str(number)] = made | {"name": f"{name}-{of}"}
        dataflow.states[str(number)] = "JOB_STATE_RUNNING"
        name = f"{AT}/customJobs/{number}"
        labels = {"run": of} if number < 2 else {}
        service.custom_jobs[name] = {"name": name, "state": "JOB_STATE_RUNNING", "labels": labels}

    def ended():
        states = [*dataflow.states.values(), *(j["state"] for j in service.custom_jobs.values())]
        return [state == "JOB_STATE_CANCELLED" for state in states]

    # The service's own cancelling ends the containers, and nothing else.
    with monkeypatch.context() as without:
        without.setattr(jobs, "cancel", lambda *_: [])
        assert runs.cancel(config, run) == [f"run {run} is cancelled"]
    tasks = service.jobs[run]["jobDetail"]["taskDetails"]
    assert "CANCELLED" in {task["state"] for task in tasks if "state" in task}
    assert not any(ended())

    assert runs.cancel(config, run) == [
        f"run {run} has ended",
        "  training job 0 is being cancelled",
        "  Dataflow job 0 is being cancelled",
    ]
    assert ended() == [True, False, False, True, False, False]
    with pytest.raises(CloudError, match="it has ended and has no active jobs"):
        runs.cancel(config, run)


def test_the_evaluator_on_dataflow_records_the_model_as_that_of_a_local_run_does():
    local = RecordingEvaluator.EXECUTOR_SPEC.executor_class
    assert issubclass(google_executors.Evaluator, local)
