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
    run_epochs(progress.History(str(tmp_path)), range(3), loss=1.0)
    run_epochs(progress.History(str(tmp_path)), range(2, 4), loss=0.5)
    epochs = json.loads((tmp_path / "history.json").read_text())["epochs"]
    assert [(row["epoch"], row["loss"]) for row in epochs] == [(1, 1), (2, 1), (3, 0.5), (4, 0.5)]
    assert [path.name for path in tmp_path.iterdir()] == ["history.json"]
