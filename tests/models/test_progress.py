"""Progress on the terminal, and history.json."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

from models import progress


def part(name="training", epochs=2, first_epoch=0) -> SimpleNamespace:
    """A phase of three steps of eight photos."""
    last = first_epoch + epochs
    sizes = {"steps": 3, "batch_size": 8, "first_epoch": first_epoch, "last_epoch": last}
    return SimpleNamespace(name=name, **sizes)


def run_epochs(callback, epochs: range, steps: int = 3, **logs):
    for epoch in epochs:
        callback.on_epoch_begin(epoch)
        for step in range(steps):
            callback.on_train_batch_end(step)
        callback.on_epoch_end(epoch, logs)


def test_progress_counts_photos(caplog):
    reporter = progress.ProgressLogger(part())
    with caplog.at_level(logging.INFO, "pawprint.progress"):
        run_epochs(reporter, range(2), val_accuracy=0.75)
        reporter.on_train_end()
    last = caplog.records[-1]
    assert last.progress == {"done": 48, "total": 48, "unit": "img", "finished": True}
    said = "training: epoch 1 of 2, validation accuracy 0.750"
    assert any(said in r.getMessage() for r in caplog.records)
    done = [record.progress["done"] for record in caplog.records]
    assert done == sorted(done)


def test_a_later_phase_counts_from_its_own_beginning(caplog):
    reporter = progress.ProgressLogger(part("fine-tuning", epochs=3, first_epoch=40))
    with caplog.at_level(logging.INFO, "pawprint.progress"):
        run_epochs(reporter, range(41, 43), val_accuracy=0.5)  # Resumed after its first epoch.
    last = caplog.records[-1]
    assert last.getMessage() == "fine-tuning: epoch 3 of 3, validation accuracy 0.500"
    assert (last.progress["done"], last.progress["total"]) == (72, 72)
    assert "epoch 2 of 3" in caplog.records[0].getMessage()


def test_a_resumed_training_continues_its_history(tmp_path):
    folder = str(tmp_path / "checkpoints")
    run_epochs(progress.History(folder), range(3), loss=1.0)
    history = progress.History(folder, done=2)
    history.phase = "fine-tuning"
    run_epochs(history, range(2, 4), loss=0.5)
    assert [row["phase"] for row in history.epochs] == ["", "", "fine-tuning", "fine-tuning"]
    history.save(str(tmp_path))
    for path in (tmp_path / "checkpoints", tmp_path):
        epochs = json.loads((path / "history.json").read_text())["epochs"]
        rows = [(row["epoch"], row["loss"]) for row in epochs]
        assert rows == [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5)]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["history.json"]


def test_epochs_whose_weights_are_lost_are_discarded(tmp_path):
    run_epochs(progress.History(str(tmp_path)), range(3), loss=1.0)
    history = progress.History(str(tmp_path), done=3)
    history.discard(after=1)
    run_epochs(history, range(1, 2), loss=0.5)
    assert [(row["epoch"], row["loss"]) for row in history.epochs] == [(1, 1.0), (2, 0.5)]


def test_every_process_knows_the_epochs_and_one_writes_them(tmp_path):
    worker = progress.History(str(tmp_path), writes=False)
    run_epochs(worker, range(2), val_loss=0.5)
    assert [row["val_loss"] for row in worker.epochs] == [0.5, 0.5]
    assert not list(tmp_path.iterdir())


def test_a_new_training_has_an_empty_history(tmp_path):
    run_epochs(progress.History(str(tmp_path)), range(3), loss=1.0)
    assert progress.History(str(tmp_path), done=0).epochs == []
