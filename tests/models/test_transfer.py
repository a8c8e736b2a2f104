"""A pretrained network is trained in phases: its head on features, then its upper layers."""

from __future__ import annotations

import dataclasses
import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from models import checkpoints, export, extraction, options, registry, session, trainer
from models.distributed import cluster
from tests.models import tiny
from tests.models.test_trainer import fn_args

HEAD, TUNED = tiny.TRAINING.epochs, tiny.FINE_TUNING.epochs


class Killed(Exception):
    """In place of a kill -9."""


@pytest.fixture(scope="module")
def train(transformed, tmp_path_factory):
    """Trains the tiny architecture; the process may end before an epoch's checkpoint is there.

    Gives what the export gets, and what the training met: `asked`, the photos that the backbone
    computed, in `views`, and `phases`, with the weights before and after and what learned.
    """

    def train(root=None, kill=None, own=(), checkpoint_dir=None, saves=False, **trainer_settings):
        root = root or tmp_path_factory.mktemp("tiny")
        met = SimpleNamespace(root=root, asked=0, views=set(), phases=[], exported=None)
        architecture = SimpleNamespace(**{**vars(tiny), **dict(own), "__doc__": "Tiny."})
        args = fn_args(
            transformed,
            root,
            model={"name": "tiny"},
            trainer=trainer_settings,
            features_dir=str(root / "features"),
        )
        compute, fit = extraction.FeatureExtractor.compute, session.fit
        save, keep = export.save, checkpoints.Checkpoints.on_epoch_end

        def count(self, images, view):
            met.asked += len(images)
            met.views.add(view)
            return compute(self, images, view)

        def watch(phase, begun, **arguments):
            model = begun.model
            before = [variable.name for variable in model.trainable_variables]
            found = SimpleNamespace(name=phase.name, learns=before, done=arguments["done"])
            found.before = model.get_weights()
            met.phases.append(found)
            met.names = [variable.name for variable in model.variables]
            fit(phase, begun, **arguments)
            found.after = model.get_weights()

        def end(self, epoch, logs=None):
            if (self.phase, epoch + 1) == kill:
                raise Killed
            keep(self, epoch, logs)
            self._wait()

        def export_(*arguments):
            _, _, _, weights, epochs, exported, settings = arguments
            met.exported = SimpleNamespace(
                weights=weights, epochs=epochs, row=exported, settings=settings
            )
            if saves:
                save(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            tiny.register(patch, architecture)
            patch.setattr(extraction.FeatureExtractor, "compute", count)
            patch.setattr(session, "fit", watch)
            patch.setattr(session, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
            patch.setattr(checkpoints.Checkpoints, "on_epoch_end", end)
            patch.setattr(export, "save", export_)
            if kill:
                with pytest.raises(Killed):
                    trainer.run_fn(args)
            else:
                trainer.run_fn(args)
                met.history = json.loads((root / "model_run/history.json").read_text())["epochs"]
        return met

    return train


@pytest.fixture(scope="module")
def best(train):
    """A whole training with both phases and mirrored features, exported."""
    logged = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())
    logger = logging.getLogger("pawprint")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        met = train(preset="best", mirrored_features=True, saves=True)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    met.logged = logged
    return met


def test_the_phases_follow_each_other_in_one_history(best):
    expected = [("head", n + 1) for n in range(HEAD)]
    expected += [("fine-tuning", HEAD + n + 1) for n in range(TUNED)]
    assert [(row["phase"], row["epoch"]) for row in best.history] == expected
    assert [(phase.name, phase.done) for phase in best.phases] == [
        ("head", 0),
        ("fine-tuning", HEAD),
    ]
    assert best.exported.epochs == HEAD + TUNED
    [said] = [line for line in best.logged if line.startswith("fine-tuning for ")]
    assert said.startswith(f"fine-tuning for {TUNED} epochs of 40 photos, about ")
    assert not list(best.root.glob("checkpoints-*"))


def test_the_head_learns_from_features_of_both_views(best):
    losses = [row["loss"] for row in best.history[:HEAD]]
    assert losses[-1] < 0.95 * losses[0]
    assert best.history[HEAD - 1]["val_loss"] < np.log(2), "better than a guess"
    assert best.views == {extraction.PHOTO, extraction.MIRRORED}
    assert best.asked == 2 * 40 + 13


def changed(phase, names: list[str]) -> set[str]:
    """The layers whose weights a phase has changed."""
    pairs = zip(names, phase.before, phase.after, strict=True)
    return {name.split("/")[0] for name, a, b in pairs if not np.array_equal(a, b)}


def test_each_phase_changes_only_what_learns_in_it(best):
    head, tuning = best.phases
    of_head = {name.split("/")[0] for name in head.learns}
    assert len(of_head) == 1 and changed(head, best.names) == of_head
    # The exported epoch is one of fine-tuning, so the named layers have learnt.
    assert best.exported.row["epoch"] > HEAD
    assert changed(tuning, best.names) == of_head | set(tiny.FINE_TUNED)
    assert {name.split("/")[0] for name in tuning.learns} == of_head | set(tiny.FINE_TUNED)
    for was, now in zip(head.after, tuning.before, strict=True):
        np.testing.assert_array_equal(was, now)


def test_the_card_has_the_settings_of_each_phase(best):
    card = json.loads((best.root / "model" / "model_card.json").read_text())
    settings = card["provenance"]["settings"]["trainer"]
    assert settings["preset"] == "best" and settings["mirrored_features"]
    assert settings["head"]["learning_rate"] == tiny.TRAINING.learning_rate
    assert settings["head"]["steps_per_epoch"] == settings["fine-tuning"]["steps_per_epoch"] == 5
    assert settings["fine-tuning"]["epochs"] == TUNED
    losses = {row["epoch"]: row["val_loss"] for row in best.history[HEAD - 1 :]}
    assert card["provenance"]["exported_epoch"] == min(losses, key=losses.get)


def test_the_export_answers_as_the_trained_model(best):
    kept = np.load(best.root / "model" / "reference.npz")
    model = tf.saved_model.load(str(best.root / "model" / "Format-Serving"))
    pixels = tf.constant(kept["pixels"].astype(np.float32))
    reply = model.signatures["serving_pixels"](pixels=pixels)
    np.testing.assert_allclose(reply["probabilities"], kept["probabilities"], atol=1e-5)


def test_fine_tuning_that_makes_it_worse_is_not_exported(train):
    ruinous = dataclasses.replace(tiny.FINE_TUNING, learning_rate=30.0)
    met = train(own={"FINE_TUNING": ruinous}, fine_tuning_epochs=2)
    losses = [row["val_loss"] for row in met.history]
    assert min(losses[HEAD:]) > losses[HEAD - 1], "it was not ruinous"
    assert met.exported.row["epoch"] == HEAD
    for was, now in zip(met.phases[0].after, met.exported.weights, strict=True):
        np.testing.assert_array_equal(was, now)


def test_the_best_epoch_of_a_head_that_ended_early_is_what_is_fine_tuned(train):
    restless = dataclasses.replace(tiny.TRAINING, learning_rate=3.0, epochs=20)
    ruinous = dataclasses.replace(tiny.FINE_TUNING, learning_rate=30.0)
    own = {"TRAINING": restless, "FINE_TUNING": ruinous}
    met = train(own=own, early_stopping=2, fine_tuning_epochs=2, seed=3)
    head = [row for row in met.history if row["phase"] == "head"]
    assert len(head) < 20
    lowest = min(head, key=lambda row: row["val_loss"])
    assert lowest["epoch"] == head[-1]["epoch"] - 2
    assert [row["epoch"] for row in met.history[len(head) :]] == [21, 22]
    assert met.exported.row == lowest


def test_a_killed_training_goes_on_in_the_phase_it_was_in(train, tmp_path):
    settings = {"fine_tuning_epochs": TUNED, "mirrored_features": True}
    first = train(tmp_path, ("head", 4), **settings)
    assert first.asked == 2 * 40 + 13 and first.exported is None
    second = train(tmp_path, ("fine-tuning", HEAD + 2), **settings)
    assert second.asked == 0, "the features were kept"
    assert [(phase.name, phase.done) for phase in second.phases] == [
        ("head", 3),
        ("fine-tuning", HEAD),
    ]
    third = train(tmp_path, **settings)
    [tuning] = third.phases
    assert (tuning.name, tuning.done, third.asked) == ("fine-tuning", HEAD + 1, 0)
    assert "upper" in {name.split("/")[0] for name in tuning.learns}
    assert [row["epoch"] for row in third.history] == list(range(1, HEAD + TUNED + 1))
    assert [row["phase"] for row in third.history] == ["head"] * HEAD + ["fine-tuning"] * TUNED
    assert third.exported.epochs == HEAD + TUNED


def test_the_preset_of_cpus_trains_the_head_alone(train):
    met = train(epochs=2)
    assert [row["phase"] for row in met.history] == ["head", "head"]
    assert met.views == {extraction.PHOTO} and met.asked == 40 + 13
    assert met.exported.settings["preset"] == "fast"
    assert met.exported.row["epoch"] == 2


@pytest.mark.parametrize("classes", [2, 40])
def test_2_to_40_classes_learn(classes, transformed, tmp_path, monkeypatch):
    tiny.register(monkeypatch, tiny)
    labels = [f"class {number}" for number in range(classes)]
    counts = dict.fromkeys(labels[:2], 20)
    args = fn_args(
        transformed,
        tmp_path,
        labels=labels,
        label_counts=counts,
        model={"name": "tiny"},
        trainer={"epochs": 1, "steps_per_epoch": 1, "steps_per_execution": 1},
    )
    config = options.parse(args.custom_config)
    begun = session.Session(
        args, config, registry.find("tiny"), cluster.ClusterTask(), tf.distribute.get_strategy()
    )
    assert begun.class_weights == pytest.approx([1.0, 1.0, *[0.0] * (classes - 2)])
    phase, logs = next(begun.phases()), {}
    before = phase.model.get_weights()
    log = tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda _, found: logs.update(found))
    session.fit(phase, begun, callbacks=[log])
    kernel, bias = phase.model.get_weights()
    assert kernel.shape == (tiny.FEATURES, classes) and bias.shape == (classes,)
    assert not np.array_equal(kernel, before[0])
    assert np.isfinite(list(logs.values())).all()
    assert {f"val_recall_{label}" for label in labels} <= logs.keys()
