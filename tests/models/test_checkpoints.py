"""A killed training goes on where it stopped; another one does not take its place."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras

from models import checkpoints


def make_model(seed: int) -> tf_keras.Model:
    tf_keras.utils.set_random_seed(seed)
    model = tf_keras.Sequential([tf_keras.layers.Input([3]), tf_keras.layers.Dense(2)])
    model.compile(tf_keras.optimizers.AdamW(0.1), "mse")
    return model


def fit(model, callbacks, epochs, done=0):
    x = np.arange(12, dtype=np.float32).reshape(4, 3) / 12
    model.fit(x, x[:, :2], initial_epoch=done, epochs=epochs, callbacks=callbacks, verbose=0)


def test_weights_optimizer_and_epoch_come_back(tmp_path):
    folder = str(tmp_path / "run")
    model = make_model(0)
    backup = checkpoints.Checkpoints(folder, "one", is_chief=True)
    assert backup.restore(model) == 0
    fit(model, [backup], 3)

    resumed = make_model(1)
    again = checkpoints.Checkpoints(folder, "one", is_chief=True)
    assert again.restore(resumed) == 3
    np.testing.assert_array_equal(resumed.get_weights()[0], model.get_weights()[0])
    fit(resumed, [again], 5, done=3)
    straight = make_model(0)
    fit(straight, [], 5)
    np.testing.assert_allclose(resumed.get_weights()[0], straight.get_weights()[0], rtol=1e-5)
    assert int(resumed.optimizer.iterations) == int(straight.optimizer.iterations) == 5
    again.remove()
    assert not (tmp_path / "run").exists()


def test_another_training_starts_afresh(tmp_path):
    model = make_model(0)
    backup = checkpoints.Checkpoints(str(tmp_path), "one", is_chief=True)
    backup.restore(model)
    fit(model, [backup], 2)
    other = checkpoints.Checkpoints(str(tmp_path), "another", is_chief=True)
    assert other.restore(make_model(1)) == 0


def test_only_the_chief_writes(tmp_path):
    chief = checkpoints.Checkpoints(str(tmp_path), "one", is_chief=True)
    chief.restore(make_model(0))
    before = sorted(tmp_path.rglob("*"))
    worker = checkpoints.Checkpoints(str(tmp_path), "one", is_chief=False)
    model = make_model(1)
    assert worker.restore(model) == 0
    fit(model, [worker], 2)
    assert sorted(tmp_path.rglob("*")) == before


def test_epochs_of_a_moment_share_a_checkpoint(tmp_path):
    model = make_model(0)
    backup = checkpoints.Checkpoints(str(tmp_path), "one", is_chief=True, interval=60)
    backup.restore(model)
    fit(model, [backup], 3)
    again = checkpoints.Checkpoints(str(tmp_path), "one", is_chief=True)
    assert again.restore(make_model(1)) == 1


def test_a_checkpoint_that_cannot_be_written_ends_the_training(tmp_path, monkeypatch):
    model = make_model(0)
    backup = checkpoints.Checkpoints(str(tmp_path), "one", is_chief=True)
    backup.restore(model)

    def full(path, content):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints.files, "write", full)
    with pytest.raises(OSError, match="No space left"):
        fit(model, [backup], 2)


def feed(stopping, model, losses, first):
    """Epochs whose weights all equal their loss."""
    for epoch, loss in enumerate(losses, first):
        model.set_weights([np.full_like(w, loss) for w in model.get_weights()])
        stopping.on_epoch_end(epoch, {"val_loss": loss})
        if model.stop_training:
            return epoch + 1
    return None


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4])
def test_early_stopping_survives_a_kill(tmp_path, killed_after):
    losses = [0.9, 0.5, 0.7, 0.6, 0.8, 0.1]

    def begin(done):
        stopping = checkpoints.EarlyStopping(3, str(tmp_path), True, losses[:done])
        model = make_model(0)
        model.stop_training = False
        stopping.set_model(model)
        stopping.on_train_begin()
        return stopping, model

    first, model = begin(0)
    assert feed(first, model, losses[:killed_after], 0) is None
    second, model = begin(killed_after)
    assert not second.is_over
    assert feed(second, model, losses[killed_after:], killed_after) == 5
    second.on_train_end()
    np.testing.assert_allclose(model.get_weights()[0], 0.5)
    assert begin(5)[0].is_over
