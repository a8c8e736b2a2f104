"""What the terminal and history.json learn of a training."""

from __future__ import annotations

import json
import logging

from models import progress


def run_epochs(callback, epochs: range, steps: int = 3, **logs):
    for epoch in epochs:
        callback.on_epoch_begin(epoch)
        for step in range(steps):
            callback.on_train_batch_end(step)
        callback.on_epoch_end(epoch, logs)


def test_progress_counts_photos(caplog):
    reporter = progress.ProgressLogger(epochs=2, steps_per_epoch=3, batch_size=8)
    with caplog.at_level(logging.INFO, "pawprint.progress"):
        run_epochs(reporter, range(2), val_accuracy=0.75)
        reporter.on_train_end()
    last = caplog.records[-1]
    assert last.progress == {"done": 48, "total": 48, "unit": "img", "finished": True}
    assert any("epoch 1 of 2, validation accuracy 0.750" in r.getMessage() for r in caplog.records)
    done = [record.progress["done"] for record in caplog.records]
    assert done == sorted(done)


def test_history_goes_on_where_a_resumed_training_does(tmp_path):
    folder = str(tmp_path / "checkpoints")
    run_epochs(progress.History(folder), range(3), loss=1.0)
    history = progress.History(folder, done=2)
    run_epochs(history, range(2, 4), loss=0.5)
    history.save(str(tmp_path))
    for path in (tmp_path / "checkpoints", tmp_path):
        epochs = json.loads((path / "history.json").read_text())["epochs"]
        rows = [(row["epoch"], row["loss"]) for row in epochs]
        assert rows == [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5)]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["history.json"]


def test_a_training_that_starts_afresh_has_no_past(tmp_path):
    run_epochs(progress.History(str(tmp_path)), range(3), loss=1.0)
    assert progress.History(str(tmp_path), done=0).epochs == []
