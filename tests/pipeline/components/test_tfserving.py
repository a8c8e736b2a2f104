"""TFX's InfraValidator as the serving gate: its settings, and the errors if it cannot run."""

import pytest
from tfx.dsl.compiler import compiler

from pipeline.components import tfserving
from pipeline.config.files import ConfigError, load_config
from pipeline.config.schema import RecordsConfig
from pipeline.pipeline import create_pipeline

CHOSEN = ["serving.validator=tfserving", "serving.image=registry:5000/tfs:2.16"]


def test_preflight_fails_without_docker(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    with pytest.raises(ConfigError) as error:
        tfserving.preflight(load_config(None, CHOSEN))
    for part in ("Docker does not answer", "registry:5000/tfs:2.16", "serving.validator=process"):
        assert part in str(error.value)
    tfserving.preflight(load_config(None))


def test_the_pusher_depends_on_its_blessing(tmp_path):
    records = RecordsConfig(
        path="records",
        labels=("cat", "dog"),
        patterns={"train": "t*", "validation": "v*"},
        counts={"train": {"cat": 1}, "validation": {"cat": 1}},
        features=("image", "label"),
        digest="0",
    )
    config = load_config(None, [*CHOSEN, f"root={tmp_path}"]).with_records(records)
    compiled = compiler.Compiler().compile(create_pipeline(config))
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in compiled.nodes}
    assert "InfraValidator" in nodes and "ServingCheck" not in nodes
    assert {"InfraValidator", "QualityGate"} <= {*nodes["Pusher"].upstream_nodes}
    parameters = nodes["InfraValidator"].parameters.parameters
    serving = parameters["serving_spec"].field_value.string_value
    assert "registry:5000/tfs" in serving and "2.16" in serving
    asked = parameters["request_spec"].field_value.string_value
    assert "serving_default" in asked and "validation" in asked
