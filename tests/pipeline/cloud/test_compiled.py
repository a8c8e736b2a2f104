"""The compiled pipeline spec."""

import json

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from google.protobuf import json_format

from pipeline.vertex import compiled
from tests.pipeline.cloud.settings import BUCKET, IMAGE, PROJECT, REGION, cloud_config


@pytest.fixture(scope="module")
def job():
    return compiled.compile_pipeline(
        cloud_config(
            "cloud.training.chief={preset: T4_4X}",
            "cloud.training.worker={preset: T4_4X, replicas: 2}",
            "cloud.labels={team: cats}",
        )
    )


def container(job, name):
    return job["pipelineSpec"]["deploymentSpec"]["executors"][f"{name}_executor"]["container"]


def parameter(job, task, name):
    inputs = job["pipelineSpec"]["root"]["dag"]["tasks"][task]["inputs"]
    return json.loads(inputs["parameters"][name]["runtimeValue"]["constant"])


def test_the_spec_has_every_component_of_the_local_pipeline(job):
    from pipeline.pipeline import create_pipeline

    local = cloud_config().model_copy(update={"cloud": None})
    nodes = {node.id for node in create_pipeline(local).components}
    tasks = set(job["pipelineSpec"]["root"]["dag"]["tasks"])
    resolvers = {f"LatestBlessedModel-{kind}-resolver" for kind in ("model", "model-blessing")}
    assert tasks == nodes - {"LatestBlessedModel"} | resolvers
    assert job["runtimeConfig"] == {"gcsOutputDirectory": f"gs://{BUCKET}/pawprint/pipeline"}


def test_vertex_ais_client_takes_the_spec(job, tmp_path):
    compiled.write(job, tmp_path / "pipeline.json")
    taken = aiplatform.PipelineJob(
        display_name="pawprint",
        template_path=str(tmp_path / "pipeline.json"),
        project=PROJECT,
        location=REGION,
        credentials=AnonymousCredentials(),
    )
    sent = json_format.MessageToDict(taken._gca_resource._pb)
    assert sent["pipelineSpec"]["root"] == job["pipelineSpec"]["root"]


def test_beam_works_on_dataflow_with_the_projects_image(job):
    args = container(job, "Transform")["args"]
    assert container(job, "Transform")["image"] == IMAGE
    for flag in (
        "--runner=DataflowRunner",
        f"--sdk_container_image={IMAGE}",
        "--max_num_workers=4",
        "--labels=team=cats",
        f"--temp_location=gs://{BUCKET}/pawprint/tmp",
        "--dataflow_service_options=max_workflow_runtime_walltime_seconds=7200",
    ):
        assert flag in args


def test_the_trainer_is_a_custom_job_of_the_worker_pools(job):
    from google.cloud.aiplatform_v1.types import AcceleratorType, CustomJob

    path = container(job, "Trainer")["args"][1]
    assert path == "pipeline.components.google_executors.Trainer"
    given = parameter(job, "Trainer", "custom_config")
    assert given["gpus"] == {"chief": 4, "worker": 4}
    settings = given["ai_platform_training_args"]
    spec = CustomJob(display_name="x", job_spec=settings["job_spec"]).job_spec
    chief, workers = spec.worker_pool_specs
    assert (chief.replica_count, workers.replica_count) == (1, 2)
    assert chief.machine_spec.machine_type == "n1-standard-16"
    assert chief.machine_spec.accelerator_type == AcceleratorType.NVIDIA_TESLA_T4
    assert chief.machine_spec.accelerator_count == 4
    assert spec.scheduling.timeout.total_seconds() == 4 * 3600
    assert settings["labels"] == {
        "application": "pawprint",
        "pipeline": "pawprint",
        "team": "cats",
    }


def test_without_pools_and_dataflow_every_task_works_by_itself():
    job = compiled.compile_pipeline(cloud_config("cloud.training=null", "cloud.dataflow=null"))
    assert container(job, "Trainer")["args"][1] == "tfx.components.trainer.executor.GenericExecutor"
    assert "--runner=FnApiRunner" in container(job, "Transform")["args"]
    assert "ai_platform_training_args" not in json.dumps(job)


def test_no_secret_of_the_environment_gets_into_the_spec(monkeypatch):
    secrets = {
        name: f"very-secret-{name.lower()}"
        for name in ("WANDB_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "MYSQL_PASSWORD")
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    job = compiled.compile_pipeline(cloud_config("wandb.mode=online"))
    assert "very-secret" not in json.dumps(job)
    assert "WANDB_API_KEY" not in json.dumps(job)


def test_an_invalid_spec_is_an_error(job):
    with pytest.raises(json_format.ParseError):
        compiled.check({"pipelineSpec": {**job["pipelineSpec"], "rooot": {}}})
    with pytest.raises(json_format.ParseError, match="schema 2"):
        compiled.check({"pipelineSpec": {**job["pipelineSpec"], "schemaVersion": "2.0.0"}})


def test_the_same_settings_compile_to_the_same_spec_on_every_machine(tmp_path):
    here, there = (
        compiled.compile_pipeline(cloud_config(f"root={tmp_path / name}")) for name in "ab"
    )
    assert here == there
    assert str(tmp_path) not in json.dumps(here)
    assert not list(tmp_path.iterdir())
