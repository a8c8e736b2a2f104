"""Photos and their conversion in ML Metadata, before the first component."""

from __future__ import annotations

import hashlib

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.config.schema import RecordsConfig
from pipeline.metadata.graph import Graph, of_run
from pipeline.metadata.reader import sqlite_store
from pipeline.metadata.stores import open_source
from pipeline.run.ingest import DataSource, Ingested
from pipeline.run.photo_recorder import PhotoRecorder


@pytest.fixture
def ingested(tmp_path):
    """Makes what a run ingested: of photos whose Image CSV is `image_csv`, or of records."""

    def make(digest="d1", cached=False, image_csv="1.csv", rows="a row") -> Ingested:
        records = RecordsConfig(
            path=f"/root/records/{digest}",
            labels=("cat", "dog"),
            patterns={"train": "train-*"},
            counts={"train": {"cat": 1, "dog": 2}},
            features=("image",),
            digest=digest,
        )
        if image_csv:
            (tmp_path / image_csv).write_text(rows)
            image_csv = str(tmp_path / image_csv)
        return Ingested(records, [{"path": "x"}], cached, image_csv)

    return make


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metadata.sqlite"


def record(path, run: str, source: DataSource, found: Ingested, link: bool = True) -> Graph:
    """Records a run of which nothing but ImportExampleGen was executed; returns its graph."""
    store = sqlite_store(str(path))
    recorder = PhotoRecorder(store, "cats", run)
    recorder.record(source, found)
    kind = store.put_execution_type(mlmd.ExecutionType(name="ImportExampleGen"))
    contexts = []
    names = {"pipeline": "cats", "pipeline_run": run, "node": "cats.ImportExampleGen"}
    for name, value in names.items():
        context_type = store.put_context_type(mlmd.ContextType(name=name))
        contexts.append(mlmd.Context(type_id=context_type, name=value))
    execution = mlmd.Execution(type_id=kind, name=run, last_known_state=mlmd.Execution.COMPLETE)
    store.put_execution(execution, [], contexts, reuse_context_if_already_exist=True)
    if link:
        recorder.link(found)
    return of_run(open_source(str(path)), run)


def edges(graph: Graph) -> set[tuple[str, str, str]]:
    """(from, to, state) by node and artifact type."""
    found = set()
    for execution in graph.executions.values():
        for edge in execution.inputs:
            found.add((graph.artifacts[edge.artifact].type, execution.node, execution.state))
        for edge in execution.outputs:
            found.add((execution.node, graph.artifacts[edge.artifact].type, execution.state))
    return found


def test_photos_lead_to_the_first_component(path, ingested):
    graph = record(path, "r1", DataSource("images", "/photos"), ingested())
    assert edges(graph) == {
        ("PhotoSet", "PhotoScan", "complete"),
        ("PhotoScan", "ImageCsv", "complete"),
        ("ImageCsv", "Convert", "complete"),
        ("Convert", "TFRecords", "complete"),
        ("TFRecords", "ImportExampleGen", "complete"),
    }
    by_type = {a.type: a for a in graph.artifacts.values()}
    assert by_type["PhotoSet"].uri == "/photos"
    assert by_type["TFRecords"].properties["fingerprint"] == "d1"
    convert = next(e for e in graph.executions.values() if e.node == "Convert")
    assert convert.properties["discarded"] == 1 and convert.pipeline == "cats"


def test_the_same_photos_are_the_same_artifacts(path, ingested):
    first = record(path, "r1", DataSource("images", "/photos"), ingested())
    again = record(path, "r2", DataSource("images", "/photos"), ingested(cached=True))
    assert set(first.artifacts) == set(again.artifacts)
    assert {e.node: e.state for e in again.executions.values()} == {
        "PhotoScan": "cached",
        "Convert": "cached",
        "ImportExampleGen": "complete",
    }
    other = record(path, "r3", DataSource("images", "/photos"), ingested("d2", image_csv="2.csv"))
    assert not set(first.artifacts) & set(other.artifacts), "the folder's photos are others"


def test_an_image_csv_comes_from_outside(path, ingested):
    graph = record(path, "r1", DataSource("csv", "/d.csv"), ingested(image_csv="d.csv"))
    assert edges(graph) == {
        ("ImageCsv", "Convert", "complete"),
        ("Convert", "TFRecords", "complete"),
        ("TFRecords", "ImportExampleGen", "complete"),
    }


def test_an_image_csv_with_other_rows_is_another_artifact(path, ingested):
    first = record(path, "r1", DataSource("csv", "/d.csv"), ingested(rows="one"))
    other = record(path, "r2", DataSource("csv", "/d.csv"), ingested("d2", rows="two"))
    again = record(path, "r3", DataSource("csv", "/d.csv"), ingested(cached=True, rows="one"))
    tables = [
        next(a for a in graph.artifacts.values() if a.type == "ImageCsv")
        for graph in (first, other, again)
    ]
    assert len({table.uri for table in tables}) == 1
    assert tables[0].id == tables[2].id != tables[1].id
    assert tables[1].properties["sha256"] == hashlib.sha256(b"two").hexdigest()


def test_tfrecords_have_no_recorded_origin(path, ingested):
    graph = record(path, "r1", DataSource("tfrecords", "/records"), ingested(image_csv=None))
    assert edges(graph) == {("TFRecords", "ImportExampleGen", "complete")}
    assert graph.producers == {}


def test_a_linked_execution_counts_as_updated(path, ingested):
    """A mirror that has seen it before it was linked looks again."""
    found = ingested(image_csv=None)
    graph = record(path, "r1", DataSource("tfrecords", "/records"), found, link=False)
    [before] = graph.executions.values()
    PhotoRecorder(sqlite_store(str(path)), "cats", "r1").link(found)
    [(updated, _)] = open_source(str(path)).updates(None)
    assert updated > before.updated


def test_a_folder_whose_name_is_not_utf8(path, ingested):
    graph = record(path, "r1", DataSource("images", "/photos\udcff"), ingested())
    assert "/photos\\xff" in {a.uri for a in graph.artifacts.values()}


def test_a_run_that_ended_before_its_first_component(path, ingested):
    recorder = PhotoRecorder(sqlite_store(str(path)), "cats", "r1")
    recorder.record(DataSource("images", "/photos"), ingested())
    recorder.link(ingested())
    assert len(of_run(open_source(str(path)), "r1").executions) == 2
