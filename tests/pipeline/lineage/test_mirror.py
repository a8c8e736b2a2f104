"""W&B's graph equals the graph of a store that TFX wrote, through W&B's client."""

from __future__ import annotations

import io
import json
import shutil

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd
from PIL import Image

from pipeline.metadata.reader import sqlite_store
from tests.pipeline.lineage.conftest import PROJECT, mirror, run
from tests.pipeline.lineage.small_store import SmallStore
from tests.pipeline.lineage.truth import Held, recorded, states, versions


@pytest.fixture(scope="module")
def whole(stores, tmp_path_factory):
    """The store of two pipelines, mirrored: (store, server, what the mirror said)."""
    from tests.standins.wandb.server import WandbStandIn

    store = tmp_path_factory.mktemp("whole") / "metadata.sqlite"
    shutil.copy(stores.two_pipelines, store)
    with WandbStandIn() as server:
        yield store, server, mirror(store, server)
        assert server.unknown == []


def test_every_edge_of_the_store_is_an_edge_in_wandb(whole):
    store, server, said = whole
    assert said.status == 0, said.output + said.errors
    expected = recorded(store)
    assert expected["inputs"] and expected["made"] and expected["cached"]
    held = Held(server, store)
    assert held.edges == expected
    assert held.states == states(store)
    assert {"finished", "failed"} == set(held.states.values())


def test_the_lineage_begins_with_the_photos(whole):
    store, server, _ = whole
    held = Held(server, store)
    made = [r for r in held.runs.values() if {"pawprint", "complete"} <= set(r.tags)]
    by_node = {run.jobType: run for run in reversed(made)}
    [photos] = [a for r in held.outside for a in r.outputs]
    assert photos.artifactSequence.type == "dataset" and "PhotoSet" in photos.artifactSequence.name
    assert photos in by_node["PhotoScan"].inputs
    [table], [records] = by_node["PhotoScan"].outputs, by_node["Convert"].outputs
    assert by_node["Convert"].inputs == [table]
    assert by_node["ImportExampleGen"].inputs == [records]
    reached, waiting = set(), [photos]
    while waiting:
        for user in waiting.pop().users:
            waiting += [o for o in user.outputs if o.id not in reached]
            reached |= {o.id for o in user.outputs}
    [pushed] = by_node["Pusher"].outputs
    assert pushed.id in reached, "photos lead to the pushed model"


def test_runs_and_artifacts_have_the_metadata_of_the_store(whole):
    store, server, _ = whole
    reader = sqlite_store(str(store))
    held = Held(server, store)
    runs = {(r.group, r.jobType): r for r in held.runs.values()}
    cached = runs["cheap-2", "Make"]
    assert set(cached.tags) == {"cheap", "cached"} and cached.outputs == []
    failed = runs["cheap-3", "Train"]
    assert set(failed.tags) == {"cheap", "failed"} and failed.state == "failed"
    trainer = next(r for r in held.runs.values() if r.jobType == "Trainer" and r.outputs)
    facts = trainer.settings()["mlmd"]
    execution = reader.get_executions_by_id([facts["execution"]])[0]
    assert facts["type"] == execution.type and facts["name"] == execution.name
    assert facts["properties"]["run_fn"] == "models.trainer.run_fn"
    assert "pipeline/pawprint" in facts["contexts"]
    [model] = [a for a in trainer.outputs if a.artifactSequence.type == "model"]
    about = json.loads(model.metadata)
    [artifact] = reader.get_artifacts_by_id([about["mlmd_id"]])
    assert about["uri"] == artifact.uri and about["state"] == "live"
    assert model.artifactSequence.name == "pawprint.Trainer.model"
    aliases = {alias["alias"] for alias in model.aliases}
    assert about["alias"] in aliases and f"-{artifact.id}-" in about["alias"]
    contents = model.manifest["contents"]
    assert contents["payload"]["ref"] == f"file://{artifact.uri}"
    assert contents["identity"]["ref"].endswith(f"/artifacts/{artifact.id}")
    assert model.files == {}, "payloads are references"
    types = {c.type for c in server.project(PROJECT).collections.values()}
    assert types >= {
        *("dataset", "examples", "statistics", "schema", "transform"),
        *("model", "evaluation", "blessing", "pushed_model"),
    }


def test_statistics_and_evaluations_have_a_summary_image(whole):
    _, server, _ = whole
    pictures = {
        collection.name: [v.files["summary.png"] for v in collection.versions if v.files]
        for collection in server.project(PROJECT).collections.values()
        if any(v.files for v in collection.versions)
    }
    assert set(pictures) == {"pawprint.StatisticsGen.statistics", "pawprint.Evaluator.evaluation"}
    for drawn in (p for found in pictures.values() for p in found):
        with Image.open(io.BytesIO(drawn)) as image:
            assert image.format == "PNG" and image.width > 400 and len(image.getcolors(9999)) > 5


def test_the_second_pass_sends_nothing(whole):
    store, server, _ = whole
    before = len(server.mutations()), len(server.requests)
    again = mirror(store, server)
    assert again.status == 0 and "nothing new" in again.output
    assert len(server.mutations()) == before[0]
    assert len(server.requests) - before[1] < 10, "the cursor finds nothing new"


def test_check_finds_differences(whole):
    store, server, _ = whole
    arguments = ("check", "--metadata", store, "--project", PROJECT)
    before = len(server.mutations())
    said = run(*arguments, environment=server.environment())
    assert said.status == 0, said.output + said.errors
    trainer = next(r for r in Held(server, store).runs.values() if r.jobType == "Trainer")
    lost, kept = trainer.inputs[0], list(trainer.inputs)
    tags, config, group = trainer.tags, trainer.config, trainer.group
    trainer.inputs.remove(lost)
    trainer.tags, trainer.config, trainer.group = [], "{}", None
    said = run(*arguments, environment=server.environment())
    trainer.inputs[:] = kept
    trainer.tags, trainer.config, trainer.group = tags, config, group
    assert said.status == 1 and "4 differences\n" in said.output
    assert said.output.count("(Trainer,") == 4
    assert f"input {lost.artifactSequence.name}" in said.output and "is missing" in said.output
    for problem in (
        "lacks the tags complete, pawprint",
        "entry in its config",
        "its group is None",
    ):
        assert problem in said.output
    assert len(server.mutations()) == before


def test_again_writes_nothing_to_a_complete_project(cheap, server):
    assert mirror(cheap, server).status == 0
    before = len(server.mutations())
    again = mirror(cheap, server, "--again")
    assert again.status == 0 and "nothing new" in again.output
    assert len(server.mutations()) == before


def test_a_single_run_is_mirrored_with_its_ancestry(cheap, server):
    said = mirror(cheap, server, "--run", "cheap-2")
    assert said.status == 0, said.output + said.errors
    held = Held(server, cheap)
    runs = {(r.group, r.jobType) for r in held.runs.values()}
    assert runs == {("cheap-1", "Make"), ("cheap-2", "Make"), ("cheap-2", "Train")}
    assert mirror(cheap, server).status == 0
    assert Held(server, cheap).edges == recorded(cheap)
    assert set(versions(server).values()) == {1}


def test_a_running_execution_waits_for_the_next_pass(cheap, server):
    reader = sqlite_store(str(cheap))
    execution = reader.get_executions()[-1]
    execution.last_known_state = mlmd.Execution.RUNNING
    reader.put_executions([execution])
    said = mirror(cheap, server)
    assert said.status == 0 and "1 still running" in said.output
    assert execution.id not in Held(server, cheap).runs
    execution.last_known_state = mlmd.Execution.CANCELED
    reader.put_executions([execution])
    assert mirror(cheap, server).status == 0
    held = Held(server, cheap)
    assert held.edges == recorded(cheap)
    assert "canceled" in held.runs[execution.id].tags
    assert held.states[execution.id] == "failed"


@pytest.mark.slow
def test_equal_stores_of_two_hosts_share_a_project(cheap, stores, server, tmp_path):
    """Ids and URIs are equal in both; the stores' identities are not."""
    other = shutil.copy(stores.cheap, tmp_path / "other.sqlite")
    assert mirror(cheap, server).status == 0
    assert mirror(other, server).status == 0
    for store in (cheap, other):
        assert Held(server, store).edges == recorded(store)
    assert set(versions(server).values()) == {2}


@pytest.mark.slow
def test_an_execution_that_wandb_rejects_does_not_block_others(tmp_path, server):
    """Here an artifact whose collection has another type."""
    store = SmallStore(tmp_path / "small.sqlite")
    store.add("A", "/1", kind="Examples")
    store.add("A", "/2", kind="Model")
    store.add("B", "/3", kind="Model")
    said = mirror(tmp_path / "small.sqlite", server)
    assert (said.status, said.errors) == (1, "")
    assert said.output.startswith("not mirrored: execution 2 (A): Artifact p.A.data already exists")
    assert "; mirrored 2 others; catch up later by: " in said.output
    runs = server.project(PROJECT).all_runs.values()
    assert sorted((r.jobType, r.state) for r in runs) == [
        ("A", "failed"),
        ("A", "finished"),
        ("B", "finished"),
    ]
    server.unknown.clear()


def test_payloads_of_selected_types_are_uploaded(cheap, server):
    assert mirror(cheap, server, "--upload", "model").status == 0
    for name, files in (
        ("cheap.Train.model", {"payload/model": b"two"}),
        ("cheap.Make.examples", {}),
    ):
        [version] = server.project(PROJECT).collections[name].versions
        assert dict(version.files.items()) == files


def test_settings_of_other_runs_are_ignored(cheap, server, tmp_path):
    """Variables, and what `wandb offline` and `wandb init` leave in W&B's settings file."""
    (tmp_path / "settings").write_text(
        "[default]\nmode = offline\nproject = other\nentity = other\n"
    )
    said = mirror(
        cheap,
        server,
        WANDB_MODE="offline",
        WANDB_RUN_ID="other",
        WANDB_PROJECT="other",
        WANDB_RUN_GROUP="other",
        WANDB_TAGS="other",
        WANDB_NAME="other",
        WANDB_CONFIG_DIR=str(tmp_path),
    )
    assert said.status == 0, said.output + said.errors
    assert list(server.projects) == [("paws", PROJECT)]
    runs = Held(server, cheap).runs.values()
    assert "other" not in {value for r in runs for value in (r.name, r.group, *r.tags)}


def test_a_missing_store(tmp_path):
    said = run("mirror", "--metadata", tmp_path / "no.sqlite")
    assert said.status == 2 and "no metadata store" in said.errors
    said = run("show", "--metadata", "mysql://me:secret@host/db")
    assert said.status == 2 and "MLMD_PASSWORD" in said.errors and "secret" not in said.errors
