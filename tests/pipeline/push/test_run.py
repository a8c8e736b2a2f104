"""The Pusher in a pipeline, as TFX launches it, whose model goes to Vertex AI."""

import pytest
from tfx import v1 as tfx
from tfx.types import standard_artifacts

from pipeline.artifacts.saved_model import DIGEST, model_digest
from pipeline.components.pusher import BlessedPusher
from pipeline.config.push import PushConfig, VertexConfig
from pipeline.metadata.reader import run_executions, sqlite_store
from pipeline.push.target import PushError
from pipeline.push.targets import make_target
from pipeline.run.dag_runner import LocalDagRunner
from tests.standins.vertex_prediction import VertexPredictionStandIn


@pytest.fixture
def service(storage):
    with VertexPredictionStandIn(storage) as service:
        yield service


@pytest.fixture
def options(service):
    vertex = VertexConfig(
        project="my-project",
        region="us-central1",
        models_at="gs://bucket/models",
        model="cats-dogs",
        api_endpoint=service.url,
        timeout_s=60,
    )
    return PushConfig(target="vertex", vertex=vertex)


@pytest.fixture
def run(tmp_path, options):
    """Runs a pipeline that pushes a model; returns how its Pusher ended and what it recorded."""
    metadata = str(tmp_path / "metadata.sqlite")

    def once(run_id: str, content: str):
        saved = tmp_path / content / "Format-Serving"
        saved.mkdir(parents=True, exist_ok=True)
        (saved / "saved_model.pb").write_text(content)
        blessed = {"blessed": 1, DIGEST: model_digest(str(saved))}
        given = {
            name: tfx.dsl.Importer(
                source_uri=str(tmp_path / content), artifact_type=kind, custom_properties=properties
            ).with_id(name)
            for name, kind, properties in (
                ("model", standard_artifacts.Model, {}),
                ("model_blessing", standard_artifacts.ModelBlessing, blessed),
                ("infra_blessing", standard_artifacts.InfraBlessing, blessed),
            )
        }
        pusher = BlessedPusher(
            **{name: importer.outputs["result"] for name, importer in given.items()},
            options=options,
            folder="",
            cache_nonce=make_target(options, "").preflight(),
        ).with_id("Pusher")
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="pushes",
            pipeline_root=str(tmp_path / "pipeline"),
            components=[*given.values(), pusher],
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
                metadata
            ),
            enable_cache=True,
        )
        reports = []
        try:
            LocalDagRunner(run_id, reports.append).run(pipeline)
        except Exception as error:
            return next(r.error for r in reports if r.error) or error
        executions = run_executions(sqlite_store(metadata), run_id)
        pushed = next(e for e in executions if e.node_id == "Pusher")
        return pushed.state, pushed.outputs["pushed_model"][0].properties

    return once


def test_what_was_pushed_is_in_ml_metadata_and_a_run_does_not_undo_a_rollback(
    run, options, service
):
    state, properties = run("1", "a")
    assert state == "complete" and properties["pushed"] == 1
    assert properties["pushed_version"] == "1"
    assert properties["pushed_destination"].endswith("/us-central1/models/cats-dogs@1")
    for held in (service.models, service.endpoints, service._last_version):
        held.clear()  # somebody deleted it all: the target is as it was before the first run
    assert run("2", "a")[0] == "complete", "not what the cache says"
    assert list(service.models["cats-dogs"]) == ["1"]
    assert run("3", "b")[1]["pushed_version"] == "2"
    state, properties = run("4", "b")
    assert state == "complete" and properties["pushed_version"] == "2", "twice is once"
    make_target(options, "").rollback()
    failed = run("5", "b")
    assert isinstance(failed, PushError)
    assert "this model is version 2 of" in str(failed) and "was rolled back" in str(failed)
    assert make_target(options, "").status().versions[0].state == "served"
