"""Names stay within W&B's limits, by its own validators, and distinct."""

from __future__ import annotations

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from wandb.sdk.artifacts import _validators as wandb_rules

from models.tracking.run_id import training_run_id
from pipeline.lineage import naming
from pipeline.metadata.graph import Artifact, Edge, Execution, Graph

NAMES = st.text(min_size=1, max_size=300)


def execution(node="Trainer", pipeline="cats", **fields) -> Execution:
    contexts = (("pipeline", pipeline), ("pipeline_run", "r"), ("node", f"{pipeline}.{node}"))
    defaults = dict.fromkeys(("created", "updated"), 0)
    return Execution(
        **{"id": 7, "type": "T", "name": "uuid", "state": "complete", "properties": {}}
        | {"contexts": contexts, "inputs": (), "outputs": (Edge("model", 1),)}
        | defaults
        | fields
    )


def artifact(**fields) -> Artifact:
    return Artifact(
        **{"id": 1, "type": "Model", "uri": "/m", "state": "live", "name": "", "created": 0}
        | {"properties": {}}
        | fields
    )


@settings(max_examples=100)
@given(NAMES, NAMES, NAMES)
def test_any_name_is_valid_in_wandb(pipeline, node, key):
    name = naming.Naming("a" * 32).collection(artifact(), execution(node, pipeline), key)
    assert wandb_rules.validate_artifact_name(name) == name and len(name) <= 128


@given(NAMES, NAMES)
def test_distinct_names_stay_distinct(one, two):
    if one != two:
        assert naming.sanitize(one, 128) != naming.sanitize(two, 128)


@given(NAMES)
def test_any_type_is_valid_in_wandb(name):
    kind = naming.artifact_type(artifact(type=name))
    assert wandb_rules.validate_artifact_type(kind, "x") == kind


@given(st.dictionaries(st.text(), st.floats() | st.text(max_size=20) | st.booleans(), max_size=150))
def test_metadata_is_json_of_bounded_size(properties):
    found = naming.metadata(artifact(properties=properties), "alias")
    assert len(found) <= 100
    assert all(math.isfinite(v) for v in found.values() if isinstance(v, float))
    json.dumps(found, allow_nan=False)


def test_a_long_text_is_truncated_with_its_length():
    assert naming.to_json("x" * 20_000) == "x" * 10_000 + "… (20,000 characters)"


def test_two_stores_and_two_executions_have_different_runs():
    graph = Graph()
    ids = {
        naming.Naming(store).run_id(execution(id=id, name=name, outputs=()), graph)
        for store, id, name in [
            ("a" * 32, 7, "x"),
            ("b" * 32, 7, "x"),
            ("a" * 32, 8, "x"),
            ("a" * 32, 7, "y"),
        ]
    }
    assert len(ids) == 4
    assert all(not set(id) & set(":;,#?/'") for id in ids)


def test_a_training_joins_its_own_run():
    settings_ = json.dumps({"store": "s", "labels": []})
    trained = execution(
        properties={"custom_config": settings_},
        outputs=(Edge("model", 1), Edge("model_run", 2)),
    )
    graph = Graph(
        {7: trained},
        {1: artifact(), 2: artifact(id=2, type="ModelRun", uri="/runs/7")},
        {1: 7, 2: 7},
    )
    named = naming.Naming("a" * 32)
    assert named.run_id(trained, graph) == training_run_id("s", "/runs/7")
    cached = execution(id=8, properties=trained.properties, outputs=trained.outputs)
    assert named.run_id(cached, graph).startswith("mlmd-"), "it trained nothing"
