"""The model of a bulk prediction, and the run of a served version."""

import json

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.config.files import load_config
from pipeline.metadata.pushed_models import pushed_models
from pipeline.metadata.reader import sqlite_store
from pipeline.predict import bulk
from pipeline.predict.bulk import NoModelError, latest_model
from pipeline.push.folder import FolderTarget
from pipeline.push.target import PushedVersion, PushError, TargetStatus, VersionStatus
from pipeline.serve.lineage import version_lineage


class Root:
    """A root folder whose metadata store gets pushes as TFX's Pusher records them."""

    def __init__(self, path):
        self.path = path
        self.store = sqlite_store(str(path / "metadata.sqlite"))
        self.types = {
            name: self.store.put_artifact_type(mlmd.ArtifactType(name=name))
            for name in ("Model", "ModelBlessing", "PushedModel")
        }
        self.pusher = self.store.put_execution_type(mlmd.ExecutionType(name="Pusher"))
        self.contexts = {
            name: self.store.put_context_type(mlmd.ContextType(name=name))
            for name in ("pipeline", "pipeline_run", "node")
        }

    def push(
        self, run: str, pushed: bool = True, forced: str = "", where: PushedVersion | None = None
    ) -> str:
        model = self.path / "models" / run
        saved = model / "Format-Serving"
        saved.mkdir(parents=True)
        (saved / "saved_model.pb").write_text(run)
        (saved / "assets").mkdir()
        (saved / "assets" / "labels.txt").write_text("cat\nguinea\\\\pig\n")
        (model / "model_card.json").write_text(json.dumps({"schema_version": run}))
        folder = self.path / "serving"
        where = where or (FolderTarget(folder).push(str(saved)) if pushed else None)
        (used,) = self._put("Model", uri=str(model))
        artifact = mlmd.Artifact(type_id=self.types["PushedModel"])
        artifact.custom_properties["pushed"].int_value = int(pushed)
        if where:
            artifact.custom_properties["pushed_version"].string_value = where.version
            artifact.custom_properties["pushed_destination"].string_value = where.destination
        (made,) = self.store.put_artifacts([artifact])
        execution = mlmd.Execution(
            type_id=self.pusher, last_known_state=mlmd.Execution.COMPLETE, name=run
        )
        contexts = [
            self._context(kind, name)
            for kind, name in (
                ("pipeline", "pawprint"),
                ("pipeline_run", run),
                ("node", "pawprint.Pusher"),
            )
        ]
        edges = [
            self._edge(used, mlmd.Event.INPUT, "model"),
            self._edge(made, mlmd.Event.OUTPUT, "pushed_model"),
        ]
        if forced:
            blessing = mlmd.Artifact(type_id=self.types["ModelBlessing"])
            blessing.custom_properties["forced_by"].string_value = "ann"
            blessing.custom_properties["forced_reason"].string_value = forced
            (blessed,) = self.store.put_artifacts([blessing])
            edges.append(self._edge(blessed, mlmd.Event.OUTPUT, "blessing"))
        self.store.put_execution(execution, edges, contexts)
        return str(model)

    def _put(self, kind, **fields):
        return self.store.put_artifacts([mlmd.Artifact(type_id=self.types[kind], **fields)])

    def _edge(self, artifact_id, kind, key):
        (artifact,) = self.store.get_artifacts_by_id([artifact_id])
        event = mlmd.Event(type=kind, artifact_id=artifact_id)
        event.path.steps.add().key = key
        return artifact, event

    def _context(self, kind, name):
        if found := self.store.get_context_by_type_and_name(kind, name):
            return found
        return mlmd.Context(type_id=self.contexts[kind], name=name)


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


def config(root):
    return load_config(None, [f"root={root.path}"])


def test_without_a_push_there_is_no_model(root):
    with pytest.raises(NoModelError, match="no model was pushed"):
        latest_model(config(root))
    root.push("refused", pushed=False)
    with pytest.raises(NoModelError, match="no model was pushed"):
        latest_model(config(root))


def test_the_served_model_is_used_after_a_rollback(root):
    first, second = root.push("one"), root.push("two")
    assert latest_model(config(root)).model_uri == second
    FolderTarget(root.path / "serving").rollback()
    found = latest_model(config(root))
    assert (found.model_uri, found.version, found.run_id) == (first, "1", "one")
    assert [push.run_id for push in pushed_models(root.store)] == ["one", "two"]


def test_the_version_served_by_google_is_used(root, monkeypatch):
    at = "projects/p/locations/us-central1/models/cats-dogs"
    models = [
        root.push(name, where=PushedVersion(v, f"{at}@{v}")) for v, name in (("1", "a"), ("2", "b"))
    ]
    states = {"1": "served", "2": "rolled back"}

    class Target:
        def status(self):
            if not states:
                raise PushError("no credentials for Google Cloud")
            rows = [VersionStatus(v, state, 0, "", f"{at}@{v}") for v, state in states.items()]
            return TargetStatus(at, tuple(rows))

    monkeypatch.setattr(bulk, "make_target", lambda options, folder: Target())
    section = "{project: my-project, region: us-central1, models_at: gs://bucket/models}"
    given = [f"root={root.path}", "push.target=vertex", f"push.vertex={section}"]
    found = latest_model(load_config(None, given))
    assert (found.version, found.model_uri) == ("1", models[0])
    states |= {"1": "kept", "3": "served"}
    with pytest.raises(NoModelError, match=r"models/cats-dogs@3 was not pushed by a run of"):
        latest_model(load_config(None, given))
    states.clear()
    with pytest.raises(NoModelError, match="no credentials for Google Cloud"):
        latest_model(load_config(None, given))


def test_a_deleted_model(root):
    model = root.push("one")
    (root.path / "models" / "one" / "Format-Serving" / "saved_model.pb").unlink()
    with pytest.raises(NoModelError, match=f"deleted from {model}"):
        latest_model(config(root))


def test_lineage_has_run_card_and_labels(root):
    root.push("one", forced="the fair is tomorrow"), root.push("two")
    found = version_lineage(root.path / "serving" / "1", 1)
    assert found["labels"] == ["cat", "guinea\\pig"]
    assert found["card"] == {"schema_version": "one"}
    assert found["run"]["id"] == "one" and found["run_missing"] == ""
    assert [e["node"] for e in found["run"]["executions"]] == ["Pusher"]
    assert found["run"]["forced"] == {"by": "ann", "reason": "the fair is tomorrow"}
    assert version_lineage(root.path / "serving" / "2", 2)["run"]["forced"] is None


def test_a_version_with_a_new_number_is_found_by_its_digest(root):
    first, second = root.push("one"), root.push("two")
    target = FolderTarget(root.path / "serving")
    assert target.promote("1") == "3"
    assert latest_model(config(root)).model_uri == first != second
    assert version_lineage(root.path / "serving" / "3", 3)["run"]["id"] == "one"


def test_lineage_without_metadata(root, tmp_path):
    root.push("one")
    (root.path / "serving" / "1").rename(root.path / "serving" / "7")
    (root.path / "serving" / "7" / "saved_model.pb").write_text("from elsewhere")
    with pytest.raises(NoModelError, match="was not pushed by a run"):
        latest_model(config(root))
    found = version_lineage(root.path / "serving" / "7", 7)
    assert found["run"] is None and "no push of version 7" in found["run_missing"]
    (root.path / "metadata.sqlite").unlink()
    assert "no metadata.sqlite" in version_lineage(root.path / "serving" / "7", 7)["run_missing"]
