"""`runner_local.py --predict`: labels unlabelled photos with the served model."""

import csv
import shutil
import subprocess
import sys

import pytest

from pipeline.metadata.pushed_models import pushed_models
from pipeline.metadata.reader import run_executions, sqlite_store
from pipeline.predict.bulk import latest_model
from tests.conftest import REPOSITORY, run_local
from tests.pipeline.serve.conftest import Server, b64


def read(file):
    with file.open(newline="") as content:
        return list(csv.DictReader(content))


def refused(*arguments, root):
    run = run_local(*arguments, root=root)
    assert run.status == 2, run.output + run.errors
    assert not (root / "runs").exists() and not (root / "records").exists()
    return run.errors


def test_a_root_without_a_model(photos, tmp_path):
    text = refused("--predict", photos, root=tmp_path / "root")
    assert "no model was pushed" in text and "--images PHOTOS" in text


@pytest.fixture(scope="module")
def unlabelled(photos, tmp_path_factory):
    """Six photos at two depths, a letter, and a hidden file."""
    folder = tmp_path_factory.mktemp("unlabelled")
    (folder / "more").mkdir()
    for label, place in (("cat", folder), ("dog", folder / "more")):
        for path in sorted((photos / label).glob("0*.jpg"))[:3]:
            shutil.copy(path, place / f"{label}, {path.name}")
    (folder / "letter.jpg").write_text("dear model")
    (folder / ".hidden.jpg").write_text("")
    return folder


@pytest.fixture(scope="module")
def root(pushed_run, tmp_path_factory):
    """The root of the session's run, copied, so that its metadata stays as that run left it."""
    root = tmp_path_factory.mktemp("bulk") / "root"
    shutil.copytree(pushed_run.root, root)
    shutil.rmtree(root / "runs")
    return root


@pytest.mark.slow
def test_every_photo_has_a_row_and_unreadable_files_are_listed(root, unlabelled, pushed_run):
    run = run_local("--predict", unlabelled, root=root)
    assert run.status == 0, run.output + run.errors
    assert "Predicted 6 photos" in run.output and "version 1" in run.output
    rows = read(run.folder / "predictions.csv")
    assert list(rows[0]) == ["path", "label", "probability_cat", "probability_dog"] or list(
        rows[0]
    ) == ["path", "label", "probability_dog", "probability_cat"]
    names = sorted(str(p) for p in unlabelled.rglob("*, *.jpg"))
    assert [row["path"] for row in rows] == names
    for row in rows:
        shares = {name: float(row[f"probability_{name}"]) for name in ("cat", "dog")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
        assert row["label"] == max(shares, key=shares.get)
    (discarded,) = read(run.folder / "discarded.csv")
    assert discarded["path"] == str(unlabelled / "letter.jpg") and discarded["reason"]

    server = Server(root / "serving")
    for row in rows:
        with open(row["path"], "rb") as photo:
            _, content = server.predict(b64(photo.read()))
        answer = content["predictions"][0]
        assert answer["label"] == row["label"]
        assert max(answer["probabilities"]) == pytest.approx(
            float(row[f"probability_{row['label']}"]), abs=1e-4
        )
    server.stop()

    store = sqlite_store(str(root / "metadata.sqlite"))
    executions = run_executions(store, run.folder.name)
    assert [e.node_id for e in executions if e.state != "failed"] == [
        e.node_id for e in executions
    ], "ML Metadata has every component of the prediction"
    assert {e.node_id for e in executions} == {"UnlabelledPhotos", "PushedModel", "BulkInferrer"}
    (asked,) = next(e for e in executions if e.node_id == "PushedModel").outputs["result"]
    assert asked.id == pushed_models(store)[-1].model_id, "the pushed model"

    again = run_local("--predict", unlabelled, root=root)
    assert again.status == 0, again.output
    assert read(again.folder / "predictions.csv") == rows
    assert "BulkInferrer                cached" in again.output


def test_sigterm_ends_a_prediction_like_ctrl_c(root, unlabelled):
    command = [sys.executable, "runner_local.py", "--predict", unlabelled, "--root", root]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("pawprint prediction")
        process.terminate()
        shown = process.stdout.read()
        assert process.wait(60) == 1
    assert "error: interrupted; run the same command again" in shown


@pytest.mark.slow
def test_invalid_folders_fail_before_anything_starts(root, tmp_path):
    before = sorted((root / "runs").iterdir()) if (root / "runs").exists() else []
    (tmp_path / "empty").mkdir()
    for given, part in (("none", "No such folder"), ("empty", "No photos in")):
        run = run_local("--predict", tmp_path / given, root=root)
        assert run.status == 2 and part in run.errors, run.output + run.errors
    assert (sorted((root / "runs").iterdir()) if (root / "runs").exists() else []) == before


@pytest.mark.slow
def test_the_served_model_is_used(root):
    from pipeline.config.files import load_config

    config = load_config(None, [f"root={root}"])
    assert latest_model(config).version == "1"
