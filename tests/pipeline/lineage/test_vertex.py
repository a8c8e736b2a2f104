"""A store in Vertex ML Metadata, read with Google's client from a stand-in."""

from __future__ import annotations

import datetime
import json

import pytest
from google.cloud import aiplatform_v1 as vertex

from models.tracking.run_id import training_run_id
from pipeline.lineage.cli import main
from pipeline.lineage.lease import LeaseError, hold_lease
from pipeline.lineage.naming import Naming
from pipeline.metadata import vertex_source
from pipeline.metadata.graph import StoreError, ancestry, load, of_run
from pipeline.metadata.stores import open_source
from tests.pipeline.lineage.conftest import PROJECT, run
from tests.standins.metadata_service import VertexMetadataStandIn
from tests.standins.wandb.server import WandbStandIn

PARENT = "projects/my-project/locations/us-central1/metadataStores/default"
URI = "vertex://my-project/us-central1"
State = vertex.Execution.State
_ARTIFACTS = (("11", 2, "examples"), ("12", 4, "model"), ("13", 4, "modelRun"))
_TRAINER = json.dumps({"store": "gs://b/root"})


@pytest.fixture
def service(monkeypatch):
    """Two runs of a pipeline of two tasks: one complete, one from the cache and failed."""
    with VertexMetadataStandIn() as running:
        monkeypatch.setenv(vertex_source.ENDPOINT, running.url)
        start = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)

        def add(kind, id, seconds, **fields):
            moment = start + datetime.timedelta(seconds=seconds)
            made = getattr(vertex, kind)(
                name=f"{PARENT}/{kind.lower()}s/{id}",
                create_time=moment,
                update_time=moment,
                **fields,
            )
            getattr(running, f"{kind.lower()}s")[made.name] = made
            return made.name

        def event(execution, artifact, type_, seconds):
            moment = start + datetime.timedelta(seconds=seconds)
            running.events.append(
                vertex.Event(execution=execution, artifact=artifact, type_=type_, event_time=moment)
            )

        pipeline = add("Context", "cats", 0, schema_title="system.Pipeline")
        examples, model, model_run = (
            add(
                "Artifact",
                id,
                second,
                schema_title=f"tfx.{name[0].upper()}{name[1:]}",
                uri=f"gs://b/{name}",
                display_name=name,
                metadata={"span": 3, "fingerprint": f"of {name}"},
            )
            for id, second, name in (
                ("11", 2, "examples"),
                ("12", 4, "model"),
                ("13", 4, "modelRun"),
            )
        )
        for number, (offset, gen, train) in enumerate(
            [(0, State.COMPLETE, State.COMPLETE), (10, State.CACHED, State.FAILED)], start=1
        ):
            context = add(
                "Context",
                f"cats-run-{number}",
                offset,
                schema_title="system.PipelineRun",
                parent_contexts=[pipeline],
            )
            whole = add("Execution", f"{number}0", offset, schema_title="system.DagExecution")
            first, second = (
                add(
                    "Execution",
                    f"{number}{task}",
                    offset + 2 * task,
                    schema_title="system.ContainerExecution",
                    display_name=name,
                    state=state,
                    metadata={"input:code": "1", "input:custom_config": _TRAINER},
                )
                for task, name, state in ((1, "ImportExampleGen", gen), (2, "Trainer", train))
            )
            running.members[context] = {whole, first, second}
            event(first, examples, vertex.Event.Type.OUTPUT, offset + 2)
            event(second, examples, vertex.Event.Type.INPUT, offset + 3)
            if train == State.COMPLETE:
                event(second, model, vertex.Event.Type.OUTPUT, offset + 4)
                event(second, model_run, vertex.Event.Type.OUTPUT, offset + 4)
        yield running


def test_a_run_is_read_with_its_edges(service):
    source = open_source(URI)
    assert source.runs() == ["cats-run-1", "cats-run-2"]
    graph = of_run(source, "cats-run-1")
    gen, train = graph.executions["11"], graph.executions["12"]
    assert (gen.pipeline, gen.run) == ("cats", "cats-run-1")
    assert (gen.node, gen.state) == ("ImportExampleGen", "complete")
    assert [(e.key, e.artifact) for e in train.inputs] == [("examples", "11")]
    assert [(e.key, e.artifact) for e in train.outputs] == [("model", "12"), ("modelRun", "13")]
    assert train.properties["code"] == "1"
    assert graph.artifacts["11"].properties == {"span": 3, "fingerprint": "of examples"}
    assert graph.producers == {"11": "11", "12": "12", "13": "12"}
    again = of_run(source, "cats-run-2")
    assert [e.state for e in again.executions.values()] == ["cached", "failed"]
    assert list(again.made(again.executions["21"])) == []
    assert set(ancestry(source, "12").executions) == {"11", "12"}


def test_the_ancestry_of_an_artifact_with_a_numeric_id(service, tmp_path, capsys):
    page = str(tmp_path / "lineage.html")
    assert main(["html", "--metadata", URI, "--artifact", "12", "-o", page]) == 0
    assert "2 executions, 2 artifacts" in capsys.readouterr().out
    assert main(["html", "--metadata", URI, "--artifact", "99", "-o", page]) == 2
    assert "no artifact 99" in capsys.readouterr().err


def test_an_error_of_the_service_is_a_store_error(service, capsys):
    service.fail(lambda request: True, 403)
    assert main(["show", "--metadata", URI]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: cannot read {URI}: 403") and said.count("\n") == 1


def test_a_training_on_vertex_joins_its_own_run(service):
    graph = of_run(open_source(URI), "cats-run-1")
    own = training_run_id("gs://b/root", "gs://b/modelRun")
    assert Naming("a" * 32).run_id(graph.executions["12"], graph) == own


def test_updates_are_selected_by_time(service):
    source = open_source(URI)
    every = source.updates(None)
    assert [id for _, id in every] == ["11", "12", "21", "22"]
    assert source.updates(every[2][0]) == every[2:]
    assert len(load(source, [id for _, id in every]).executions) == 4


def test_a_note_is_created_once(service):
    one, two = open_source(URI), open_source(URI)
    assert one.note("a name / with signs") is None
    assert one.create_note("a name / with signs", "1")
    assert not two.create_note("a name / with signs", "2")
    two.write_note("a name / with signs", "3")
    assert one.note("a name / with signs") == "3"
    with (
        hold_lease(one, "project", seconds=60, wait=0),
        pytest.raises(LeaseError),
        hold_lease(two, "project", seconds=60, wait=0),
    ):
        pass


def test_it_is_mirrored_and_checked(service):
    with WandbStandIn() as server:
        environment = server.environment() | {vertex_source.ENDPOINT: service.url}
        arguments = ("--metadata", URI, "--project", PROJECT)
        said = run("mirror", *arguments, environment=environment)
        assert said.status == 0, said.output + said.errors
        runs = {(r.group, r.jobType): r for r in server.project(PROJECT).all_runs.values()}
        assert {key: r.state for key, r in runs.items()} == {
            ("cats-run-1", "ImportExampleGen"): "finished",
            ("cats-run-1", "Trainer"): "finished",
            ("cats-run-2", "ImportExampleGen"): "finished",
            ("cats-run-2", "Trainer"): "failed",
        }
        [examples] = runs["cats-run-1", "ImportExampleGen"].outputs
        assert examples.artifactSequence.name == "cats.ImportExampleGen.examples"
        assert examples.manifest["contents"]["payload"]["ref"] == "gs://b/examples"
        assert json.loads(examples.metadata)["fingerprint"] == "of examples"
        assert runs["cats-run-1", "Trainer"].inputs == [examples]
        assert runs["cats-run-2", "Trainer"].inputs == [examples]
        assert runs["cats-run-2", "ImportExampleGen"].outputs == []
        again = run("mirror", *arguments, environment=environment)
        assert again.status == 0 and "nothing new" in again.output
        assert run("check", *arguments, environment=environment).status == 0
        assert server.unknown == []


def test_a_uri_of_another_form():
    with pytest.raises(StoreError, match="vertex://PROJECT/LOCATION"):
        open_source("vertex://my-project")
