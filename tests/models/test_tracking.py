"""W&B records a training, and whatever its server does the training goes on."""

from __future__ import annotations

import http.server
import json
import logging
import os
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from models import options, tracking
from models.run_id import training_run_id

KEY = "0123456789abcdef0123456789abcdef01234567"


def log_epochs(folder: Path, mode: str) -> None:
    config = options.parse(
        {"labels": ["a", "b"], "wandb": {"mode": mode, "project": "paws"}, "store": "here"}
    )
    run = tracking.start(config, str(folder))
    assert (run is None) == (mode == "disabled")
    [callback] = tracking.callbacks(run) or [None]
    if callback:
        import tf_keras

        model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=[1])])
        model.compile("sgd", "mse")
        model.fit(np.ones([4, 1]), np.ones([4, 1]), epochs=2, verbose=0, callbacks=[callback])
    tracking.finish(run, mode)


def records(folder: Path) -> list:
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal import datastore

    [path] = folder.glob("wandb/offline-run-*/*.wandb")
    store = datastore.DataStore()
    store.open_for_scan(str(path))
    found = []
    while data := store.scan_data():
        found.append(wandb_internal_pb2.Record.FromString(data))
    return found


def test_offline_run_holds_every_epoch_and_the_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    log_epochs(tmp_path, "offline")
    kept = records(tmp_path)
    [run] = [record.run for record in kept if record.HasField("run")][:1]
    assert run.run_id == training_run_id("here", str(tmp_path))
    assert (run.project, run.job_type) == ("paws", "train")
    assert "image_size" in {item.key for item in run.config.update}
    rows = [record.history for record in kept if record.HasField("history")]
    epochs = [
        json.loads(item.value_json)
        for row in rows
        for item in row.item
        if (item.key or "/".join(item.nested_key)) == "epoch/epoch"
    ]
    assert epochs == [0, 1]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_disabled_writes_nothing(tmp_path):
    log_epochs(tmp_path, "disabled")
    assert not list(tmp_path.iterdir())


class _Failing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture(params=["refused", "silent", "500"])
def server(request):
    """Address of a W&B server that does not work."""
    if request.param == "500":
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Failing) as failing:
            threading.Thread(target=failing.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{failing.server_port}"
            failing.shutdown()
        return
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_broken_server_costs_a_warning(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.setattr(tracking, "_UPLOAD_TIMEOUT", 8)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "pawprint"):
        log_epochs(tmp_path, "online")
    assert time.monotonic() - began < 30
    assert any("wandb sync" in record.getMessage() for record in caplog.records)
    assert KEY not in caplog.text
    assert records(tmp_path), "the run is kept for a later upload"


def test_a_failure_inside_wandb_does_not_reach_the_training(tmp_path, caplog):
    config = options.parse({"labels": ["a", "b"], "wandb": {"mode": "offline"}})
    run = tracking.start(config, str(tmp_path))
    [callback] = tracking.callbacks(run)
    run.finish()
    with caplog.at_level(logging.WARNING, "pawprint"):
        callback.on_epoch_end(0, {"loss": object()})
    assert os.listdir(tmp_path) == ["wandb"]
