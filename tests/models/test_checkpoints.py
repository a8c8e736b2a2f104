"""A killed training resumes from its checkpoint; another training ignores it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tf_keras

from models import checkpoints, options, registry


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


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", None])
def test_a_checkpoint_that_cannot_be_used_is_left_out(tmp_path, caplog, content):
    folder = str(tmp_path / "run")
    backup = checkpoints.Checkpoints(folder, "one", is_chief=True)
    model = make_model(0)
    backup.restore(model)
    fit(model, [backup], 2)
    other = make_model(1)
    if content is None:  # That of another model under the same settings.
        other = tf_keras.Sequential([tf_keras.layers.Dense(5, input_shape=[3])])
        other.compile(tf_keras.optimizers.AdamW(0.1), "mse")
    else:
        (tmp_path / "run" / "last.npz").write_bytes(content)
    before = other.get_weights()
    with caplog.at_level("WARNING", "pawprint"):
        assert checkpoints.Checkpoints(folder, "one", is_chief=True).restore(other) == 0
    assert "training starts afresh: " in caplog.text
    for was, now in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_what_is_not_of_a_training_stays_in_its_folder(tmp_path, caplog):
    (tmp_path / "photo.jpg").write_text("")
    for identity in ("one", "another"):
        backup = checkpoints.Checkpoints(str(tmp_path), identity, is_chief=True)
        model = make_model(0)
        assert backup.restore(model) == 0
        fit(model, [backup], 1)
    assert "is of other settings, data or code" in caplog.text
    (tmp_path / "last.npz.tmp").write_text("")
    backup.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_the_identity_is_that_of_all_that_shapes_the_weights():
    def of(code="a", epochs=3, learning_rate=0.1, weights="w", **trainer):
        fields = {"labels": ["a", "b"], "image_size": 48, "code": code, "trainer": trainer}
        config = options.parse(fields | {"provenance": {"weights_digest": weights}})
        own = [registry.TrainingSettings(epochs, "adamw", learning_rate)] * 2
        files = {"train_files": ["t"], "eval_files": ["e"], "transform_output": "o"}
        steps = {"train_steps": None, "eval_steps": None}
        return checkpoints.identity(config, SimpleNamespace(**files, **steps), own, 16)

    assert of() == of() == of(cache="file", steps_per_execution=3, features_limit_mb=1)
    changes = (
        {"code": "b"},
        {"epochs": 4},
        {"learning_rate": 0.2},
        {"seed": 7},
        {"weights": "x"},
        {"preset": "best"},
        {"mirrored_features": True},
    )
    assert len({of(), *(of(**change) for change in changes)}) == 8


def test_the_scale_of_the_loss_comes_back(tmp_path):
    def model_and_backup():
        tf_keras.mixed_precision.set_global_policy("mixed_float16")
        try:
            model = make_model(0)
        finally:
            tf_keras.mixed_precision.set_global_policy("float32")
        return model, checkpoints.Checkpoints(str(tmp_path), "one", is_chief=True)

    model, backup = model_and_backup()
    backup.restore(model)
    first = float(model.optimizer.loss_scale)
    too_much = np.full([4, 3], 1e4, np.float32)
    model.fit(too_much, too_much[:, :2], verbose=0, callbacks=[backup])
    fallen = float(model.optimizer.loss_scale)
    assert fallen < first
    model, backup = model_and_backup()
    assert backup.restore(model) == 1
    assert float(model.optimizer.loss_scale) == fallen


LOSSES = [0.9, 0.5, 0.7, 0.6, 0.8, 0.1]


def feed(stopping, losses, first):
    """Epochs whose weights all equal their loss; the number of the one that ends the training."""
    model = stopping.model
    for epoch, loss in enumerate(losses, first):
        model.set_weights([np.full_like(w, loss) for w in model.get_weights()])
        stopping.on_epoch_end(epoch, {"val_loss": loss})
        if model.stop_training:
            return epoch + 1
    return None


def begin(folder, losses, patience=3):
    """Early stopping after the epochs with these losses, and the checkpoints it is kept in."""
    model = make_model(0)
    backup = checkpoints.Checkpoints(str(folder), "one", is_chief=True)
    assert backup.restore(model) == len(losses)
    stopping = checkpoints.EarlyStopping(patience, backup, losses)
    model.stop_training = False
    for callback in (stopping, backup):
        callback.set_model(model)
    stopping.on_train_begin()
    return stopping, backup


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4])
def test_early_stopping_survives_a_kill(tmp_path, killed_after):
    first, backup = begin(tmp_path, [])
    assert feed(first, LOSSES[:killed_after], 0) is None
    backup.on_epoch_end(killed_after - 1)
    backup.on_train_end()
    second, _ = begin(tmp_path, LOSSES[:killed_after])
    assert not second.is_over
    assert feed(second, LOSSES[killed_after:], killed_after) == 5
    second.on_train_end()
    np.testing.assert_allclose(second.model.get_weights()[0], 0.5)
    assert checkpoints.EarlyStopping(3, backup, LOSSES[:5]).is_over


def test_a_best_epoch_after_the_last_checkpoint_is_not_taken_for_an_earlier_one(tmp_path):
    first, backup = begin(tmp_path, [])
    feed(first, [0.9, 0.5], 0)
    backup.on_epoch_end(1)
    feed(first, [0.4], 2)  # Killed before this epoch's checkpoint was written.
    backup.on_train_end()
    second, _ = begin(tmp_path, [0.9, 0.5])
    feed(second, [0.6], 2)
    second.on_train_end()
    np.testing.assert_allclose(second.model.get_weights()[0], 0.5)


def test_losses_that_are_no_numbers_are_never_the_best(tmp_path):
    nan = float("nan")
    first, backup = begin(tmp_path, [])
    assert feed(first, [nan, nan], 0) is None
    backup.on_epoch_end(1)
    backup.on_train_end()
    second, _ = begin(tmp_path, [nan, nan])
    assert not second.is_over
    assert feed(second, [nan, 0.3], 2) == 3
    assert checkpoints.EarlyStopping(3, backup, [nan] * 3).is_over
    assert not checkpoints.EarlyStopping(3, backup, [nan, nan, 0.4, 0.5]).is_over
