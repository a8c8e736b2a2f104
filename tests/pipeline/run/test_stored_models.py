"""Models whose files changed or are gone are kept out of the next run."""

import shutil
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.artifacts.saved_model import DIGEST, model_digest
from pipeline.metadata.reader import sqlite_store
from pipeline.run.stored_models import fail_unfinished, repair_models


class Root:
    """ML Metadata with judged models, and a serving folder."""

    def __init__(self, folder: Path):
        self.folder, self.serving = folder, folder / "serving"
        self.store = sqlite_store(str(folder / "metadata.sqlite"))
        self._types = [
            self.store.put_artifact_type(mlmd.ArtifactType(name=name))
            for name in ("Model", "ModelBlessing")
        ]

    def add(self, content: str, blessed: bool = True, pushed: str = "") -> Path:
        """The SavedModel of a new Model artifact, judged by gate 1."""
        number = len(self.store.get_artifacts()) + 1
        model = mlmd.Artifact(type_id=self._types[0], state=mlmd.Artifact.LIVE)
        model.uri = str(self.folder / "model" / str(number))
        saved = Path(model.uri) / "Format-Serving"
        saved.mkdir(parents=True)
        (saved / "saved_model.pb").write_text(content)
        (model.id,) = self.store.put_artifacts([model])
        blessing = mlmd.Artifact(type_id=self._types[1], state=mlmd.Artifact.LIVE)
        blessing.custom_properties["current_model_id"].int_value = model.id
        blessing.custom_properties["blessed"].int_value = int(blessed)
        blessing.custom_properties[DIGEST].string_value = model_digest(str(saved))
        self.store.put_artifacts([blessing])
        if pushed:
            shutil.copytree(saved, self.serving / pushed)
        return saved

    def repair(self) -> list[str]:
        return list(repair_models(self.store, self.folder, str(self.serving)))

    def live(self) -> list[str]:
        models = self.store.get_artifacts_by_type("Model")
        return [Path(m.uri).name for m in models if m.state == mlmd.Artifact.LIVE]


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


def test_unchanged_models_are_kept(root):
    for content in "ab":
        root.add(content)
    assert root.repair() == [] and root.live() == ["1", "3"]


def test_a_root_without_models_is_no_error(tmp_path):
    store = sqlite_store(str(tmp_path / "metadata.sqlite"))
    assert list(repair_models(store, tmp_path, str(tmp_path / "serving"))) == []


@pytest.mark.parametrize("harm", ["altered", "added to", "without a graph", "gone", "all gone"])
def test_a_changed_model_is_neither_cached_nor_a_baseline(harm, root):
    earlier, saved = root.add("a"), root.add("b")
    if harm == "altered":
        (saved / "saved_model.pb").write_text("c")
    elif harm == "added to":
        (saved / "further").write_text("c")
    elif harm == "without a graph":
        (saved / "saved_model.pb").unlink()
    else:
        shutil.rmtree(saved if harm == "gone" else saved.parent)
    (line,) = root.repair()
    what = "is missing from" if "gone" in harm else "has changed since its evaluation, in"
    assert line == f"model 3 {what} {saved.parent}: no longer used"
    assert root.live() == ["1"] and not saved.parent.exists() and earlier.exists()
    assert root.repair() == []
    aside = list(saved.parent.parent.glob(".changed-3-*"))
    assert len(aside) == (harm != "all gone"), "nothing is lost"


@pytest.mark.parametrize("gone", [True, False])
def test_the_latest_blessed_model_comes_back_from_the_serving_folder(gone, root):
    root.add("a", pushed="1")
    saved = root.add("b", pushed="2")
    refused = root.add("c", blessed=False)
    (saved / "saved_model.pb").write_text("altered")
    if gone:
        shutil.rmtree(saved.parent)
    (line,) = root.repair()
    assert line.endswith(f"{saved.parent}: restored from {root.serving / '2'}")
    assert (saved / "saved_model.pb").read_text() == "b" and refused.exists()
    assert root.live() == ["1", "3", "5"] and root.repair() == []


def test_a_model_in_cloud_storage_is_left_to_the_pusher(root):
    root.add("a")
    (model,) = root.store.get_artifacts_by_type("Model")
    model.uri = "gs://bucket/model/1"
    root.store.put_artifacts([model])
    assert root.repair() == [] and root.live() == ["1"]


@pytest.mark.parametrize("gone", [True, False])
def test_nothing_outside_the_root_is_touched(gone, root, tmp_path):
    saved = root.add("a", pushed="1")
    elsewhere = tmp_path / "another root"
    elsewhere.mkdir()
    (saved / "saved_model.pb").write_text("altered")
    if gone:
        shutil.rmtree(saved.parent)
    (line,) = repair_models(root.store, elsewhere, str(root.serving))
    assert line.endswith("no longer used") and root.live() == []
    assert saved.exists() != gone and list(elsewhere.iterdir()) == []


def test_a_served_version_of_other_content_restores_nothing(root):
    saved = root.add("a", pushed="1")
    (root.serving / "1" / "saved_model.pb").write_text("of another pipeline")
    shutil.rmtree(saved)
    assert root.repair()[0].endswith("no longer used") and root.live() == []


def test_unfinished_executions_are_marked_as_failed(tmp_path):
    store = sqlite_store(str(tmp_path / "metadata.sqlite"))
    kind = store.put_execution_type(mlmd.ExecutionType(name="Trainer"))
    states = [mlmd.Execution.RUNNING, mlmd.Execution.COMPLETE, mlmd.Execution.CACHED]
    store.put_executions([mlmd.Execution(type_id=kind, last_known_state=s) for s in states])
    fail_unfinished(store)
    fail_unfinished(store)
    found = [execution.last_known_state for execution in store.get_executions()]
    assert found == [mlmd.Execution.FAILED, mlmd.Execution.COMPLETE, mlmd.Execution.CACHED]
