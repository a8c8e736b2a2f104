"""W&B logs a training, and its server cannot affect the training."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from models import input as examples
from models import options
from models.tracking import wandb_records, wandb_tracker
from models.tracking.run_id import training_run_id
from tests.standins.wandb import broken

KEY = "0123456789abcdef0123456789abcdef01234567"


def config_of(mode: str, **wandb) -> options.Options:
    fields = {"mode": mode, "project": "paws", **wandb}
    return options.parse(
        {"labels": ["disc", "square"], "image_size": 48, "wandb": fields, "store": "here"}
    )


def log_epochs(folder: Path, mode: str, earlier=(), timeout=3):
    """Two epochs of a tiny model, tracked."""
    import tf_keras

    from models.tracking.callbacks import Metrics

    model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=[1])])
    model.compile("sgd", "mse")
    with wandb_tracker.tracking(config_of(mode, upload_timeout=timeout), str(folder)) as tracker:
        assert (tracker is None) == (mode == "disabled")
        callbacks = [Metrics(tracker, earlier)] if tracker else []
        data = np.ones([4, 1])
        first = len(earlier)
        model.fit(data, data, initial_epoch=first, epochs=first + 2, verbose=0, callbacks=callbacks)
    return tracker


def upload_log(folder: Path) -> str:
    return (folder / "run" / "wandb" / "upload.log").read_text()


def records(folder: Path) -> list:
    [run] = folder.glob("wandb/offline-run-*")
    return list(wandb_records.records(str(run)))


def rows(folder: Path) -> list[dict]:
    """The rows of the run's history."""
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in row.item}
        for row in (r.history for r in records(folder) if r.HasField("history"))
    ]


def key_is_nowhere_in(folder: Path) -> None:
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found
    for path in found:
        assert KEY.encode() not in path.read_bytes(), path


@pytest.fixture(autouse=True)
def account(tmp_path, monkeypatch):
    """A key, and a home folder whose files the tests can search."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_offline_run_holds_every_epoch_and_the_settings(tmp_path):
    log_epochs(tmp_path / "run", "offline")
    kept = records(tmp_path / "run")
    [run] = [record.run for record in kept if record.HasField("run")][:1]
    assert run.run_id == training_run_id("here", str(tmp_path / "run"))
    assert (run.project, run.job_type) == ("paws", "Trainer")
    assert "image_size" in {item.key for item in run.config.update}
    history = rows(tmp_path / "run")
    assert [row["epoch/epoch"] for row in history] == [0, 1]
    assert all(row["epoch/learning_rate"] == pytest.approx(0.01) for row in history)
    key_is_nowhere_in(tmp_path)


def test_a_resumed_run_shows_the_earlier_epochs_too(tmp_path):
    earlier = [{"epoch": 1, "loss": 0.9}, {"epoch": 2, "loss": 0.8}]
    log_epochs(tmp_path, "offline", earlier)
    history = rows(tmp_path)
    assert [row["epoch/epoch"] for row in history] == [0, 1, 2, 3]
    assert [row["epoch/loss"] for row in history][:2] == [0.9, 0.8]


def test_disabled_writes_nothing(tmp_path):
    log_epochs(tmp_path, "disabled")
    assert not list(tmp_path.iterdir())


def test_predictions_are_logged_as_pictures(transformed, tmp_path):
    import tf_keras

    from models.tracking.callbacks import Predictions

    size = transformed.image_size
    model = tf_keras.Sequential(
        [
            tf_keras.layers.Input([size, size, 3]),
            tf_keras.layers.GlobalAveragePooling2D(),
            tf_keras.layers.Dense(2, activation="softmax"),
        ]
    )
    source = examples.ExampleFiles.of([f"{transformed.root}/eval/*"], size, 2)
    with wandb_tracker.tracking(config_of("offline"), str(tmp_path)) as tracker:
        callback = Predictions(tracker, model, source, transformed.labels, every=2)
        callback.set_model(model.layers[-1])  # What is trained may be a part of what predicts.
        for epoch in range(4):
            callback.on_epoch_end(epoch)
    logged = [row for row in rows(tmp_path) if "predictions" in row or "predictions/count" in row]
    assert [row["epoch/epoch"] for row in logged] == [1, 3]
    pictures = list(tmp_path.glob("wandb/offline-run-*/files/media/images/*.png"))
    assert len(pictures) == 2 * 8
    kept = b"".join(record.SerializeToString() for record in records(tmp_path))
    assert b"labelled disc" in kept and b"labelled square" in kept


@pytest.fixture(params=broken.STATES)
def server(request):
    """Address of a W&B server that does not work."""
    with broken.broken_server(request.param) as address:
        yield address


def test_a_broken_server_does_not_delay_the_training(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    with caplog.at_level(logging.INFO, "pawprint"):
        tracker = log_epochs(tmp_path / "run", "online")
    assert tracker._upload.poll() is None, "the upload goes on by itself"
    assert tracker._upload.wait(60) == 1
    assert "not uploaded: " in upload_log(tmp_path)
    assert "To retry: wandb sync " in upload_log(tmp_path)
    assert KEY not in caplog.text
    key_is_nowhere_in(tmp_path)
    assert len(rows(tmp_path / "run")) == 2, "the run is kept for a later upload"


def test_a_remote_folder_gets_the_files_and_the_upload_is_waited_for(tmp_path, monkeypatch, caplog):
    with broken.broken_server("refused") as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setattr(wandb_tracker, "_REMOTE_UPLOAD_SECONDS", 60)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        tracker = log_epochs(f"file://{tmp_path}/run", "online")
    assert tracker._upload.poll() == 1
    assert len(rows(tmp_path / "run")) == 2
    assert "not uploaded: " in (tmp_path / "run" / "wandb" / "upload.log").read_text()


def test_a_remote_run_leaves_nothing_on_this_machine(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    log_epochs(f"file://{tmp_path}/run", "offline")
    assert len(rows(tmp_path / "run")) == 2
    assert not list((tmp_path / "tmp").glob("wandb-*"))


def test_a_failure_inside_wandb_does_not_reach_the_training(tmp_path, caplog):
    def broken(run):
        raise RuntimeError("of W&B's own")

    with (
        caplog.at_level(logging.WARNING, "pawprint"),
        wandb_tracker.tracking(config_of("offline"), str(tmp_path)) as tracker,
    ):
        tracker.submit(broken)
        tracker.submit(lambda run: run.log({"after": 1}))
    assert "of W&B's own" in caplog.text
    assert [row["after"] for row in rows(tmp_path)] == [1]


def test_a_hanging_client_is_left_behind(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(wandb_tracker, "_FINISH_SECONDS", 1)
    answered = threading.Event()
    with caplog.at_level(logging.WARNING, "pawprint"):
        with wandb_tracker.tracking(config_of("offline"), str(tmp_path)) as tracker:
            tracker.submit(lambda run: answered.wait())
        assert tracker._thread.is_alive()
    assert "is not done after 1 s" in caplog.text
    answered.set()
    tracker._thread.join(60)  # W&B knows one run a process at a time.


def test_a_client_that_cannot_start_only_warns(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "pawprint"):
        log_epochs(tmp_path / "file" / "below", "offline")
    assert "this training is not logged to W&B" in caplog.text
    assert os.listdir(tmp_path) == ["file"]


@pytest.fixture
def wandb_server(monkeypatch):
    """The stand-in for W&B's server, to which this process's clients lead."""
    from tests.standins.wandb.server import WandbStandIn

    with WandbStandIn() as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        yield service


def test_an_online_run_is_uploaded(wandb_server, tmp_path):
    tracker = log_epochs(tmp_path / "run", "online", timeout=60)
    assert tracker._upload.wait(90) == 0, upload_log(tmp_path)
    assert upload_log(tmp_path).strip().splitlines()[-1].startswith("uploaded: http")
    run = wandb_server.run("paws", training_run_id("here", str(tmp_path / "run")))
    assert [json.loads(row)["epoch/epoch"] for row in run.history] == [0, 1]
    assert wandb_server.unknown == []
    key_is_nowhere_in(tmp_path)


def test_a_server_that_fails_in_the_middle_gets_the_run_later(wandb_server, tmp_path):
    wandb_server.fail(lambda request: request.path.endswith("file_stream"), status=500)
    tracker = log_epochs(tmp_path / "run", "online", timeout=4)
    assert tracker._upload.wait(60) == 1
    assert "not uploaded: " in upload_log(tmp_path)
    wandb_server.heal()
    command = [
        sys.executable,
        "-m",
        "models.tracking.wandb_upload",
        tracker._folder,
        tracker.run_id,
    ]
    done = subprocess.run([*command, "--project", "paws"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    run = wandb_server.run("paws", tracker.run_id)
    assert len(run.history) == 2
