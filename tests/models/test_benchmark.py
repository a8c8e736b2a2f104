"""The training benchmark ends, and counts an epoch once."""

from __future__ import annotations

import threading

from benchmarks import training
from models import progress, trainer
from tests.models.test_progress import part

EPOCHS = 3


def within(seconds: float, work):
    """The result of `work`, which must not take longer."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it still waits"
    return found[0]


def test_the_trainer_and_a_bare_training_take_turns_to_their_ends(monkeypatch):
    def run_fn(_):
        logs = {"val_accuracy": 0.5}
        reporter = progress.ProgressLogger(part(epochs=EPOCHS))
        for epoch in range(EPOCHS):
            reporter.on_epoch_begin(epoch)
            reporter.on_epoch_end(epoch, logs)
        reporter.on_train_end(logs)  # Keras gives it the last epoch's.

    monkeypatch.setattr(trainer, "run_fn", run_fn)
    turns = within(
        10, lambda: training.run_in_turns({}, "", lambda end: [end() for _ in range(EPOCHS)])
    )
    assert len(turns) == EPOCHS - 1


def test_the_longer_of_two_trainings_goes_on_alone():
    def of(epochs):
        return lambda end: [end() for _ in range(epochs)]

    for counts in ((3, 5), (5, 3), (3, 3)):
        turns = within(10, lambda counts=counts: training.Turns(*map(of, counts)))
        assert tuple(map(len, turns.seconds)) == counts
