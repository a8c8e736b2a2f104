"""The stand-in of Vertex AI Pipelines: what is around the containers, without starting one."""

import pytest
from tfx import v1 as tfx

from tests.standins.vertex_conditions import holds
from tests.standins.vertex_metadata import MetadataStore
from tests.standins.vertex_pipelines import PipelinesStandIn

_BUCKET = "gs://bucket/models/7"


@tfx.dsl.components.component
def Never(text: tfx.dsl.components.Parameter[str]):
    """Fails where it is started."""
    raise AssertionError(text)


def spec(*, grade: int) -> dict:
    """An importer, and a component that is started for models of a grade above 5."""
    imported = tfx.dsl.Importer(
        source_uri=_BUCKET,
        artifact_type=tfx.types.standard_artifacts.Model,
        custom_properties={"grade": grade},
    ).with_id("Imported")
    model = imported.outputs["result"].future()[0]
    with tfx.dsl.Cond(model.custom_property("grade") > 5):
        conditional = Never(text="started")
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="conditional",
        pipeline_root="gs://bucket/root",
        components=[imported, conditional],
    )
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
        tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(use_pipeline_spec_2_1=True)
    )
    return runner.run(pipeline, write_out=False)


def test_an_imported_artifact_and_a_condition_that_is_not_met(tmp_path):
    service = PipelinesStandIn(tmp_path, {"bucket": tmp_path / "bucket"})
    tasks = service.run(spec(grade=3), "run-1")
    assert {name: task.state for name, task in tasks.items()} == {
        "Imported": "SUCCEEDED",
        "Never": "NOT_TRIGGERED",
    }
    (artifact,) = tasks["Imported"].outputs["result"]
    assert (artifact.uri, artifact.title, artifact.state) == (_BUCKET, "tfx.Model", "LIVE")
    assert service.commands == []
    again = service.run(spec(grade=3), "run-2")
    assert again["Imported"].outputs["result"] == [artifact]


def test_a_condition_is_as_tfx_writes_it():
    task = spec(grade=3)["pipelineSpec"]["root"]["dag"]["tasks"]["Never"]
    condition = task["triggerPolicy"]["condition"]
    (key,) = task["inputs"]["artifacts"]
    for grade, expected in ((3, False), (7, True)):
        model = MetadataStore("here").new("title: tfx.Model", _BUCKET, "conditional")
        model.metadata["grade"] = float(grade)
        assert holds(condition, {key: [model]}) is expected
    assert holds(f"!({condition})", {key: [model]}) is False
    with pytest.raises(ValueError, match="does not know"):
        holds("size(inputs) > 1", {})


def test_a_resolver_finds_the_latest_live_artifact_of_its_pipeline():
    store = MetadataStore("here")
    blessing = "title: tfx.ModelBlessing"
    made = [store.new(blessing, f"gs://b/{i}", p) for i, p in enumerate(["a", "a", "a", "other"])]
    for artifact, blessed in zip(made, (1.0, 1.0, 0.0, 1.0), strict=True):
        artifact.state = "LIVE"
        artifact.metadata["blessed"] = blessed
    made[1].metadata["current_model_id"] = "here/7"
    query = 'schema_title="tfx.ModelBlessing" AND state=LIVE AND metadata.blessed.number_value=1'
    assert store.query(query, {}, "a") == [made[1]]
    by_name = "name=\"{{$.inputs.artifacts['input'].metadata['current_model_id']}}\""
    assert store.query(by_name, {"input": []}, "a") == []
    with pytest.raises(ValueError, match="does not know"):
        store.query("uri>3", {}, "a")
