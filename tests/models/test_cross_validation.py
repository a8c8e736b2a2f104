"""Each image is predicted by a head trained without it, from the same initial weights."""

from __future__ import annotations

import numpy as np
import pytest

from models import cross_validation, options, phases
from models.input import Features
from tests.models import tiny

LABELS = ("disc", "square", "star")


def features(count: int, noise: float, seed: int = 0) -> Features:
    """Three clusters in the space of features, of `count` photos each."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), count)
    values = np.eye(3, tiny.FEATURES)[labels] * 3 + random.normal(0, noise, [3 * count, 16])
    return Features(values[:, None].astype(np.float16), labels, 3 * count, 3)


@pytest.fixture(scope="module")
def config() -> options.Options:
    return options.parse({"labels": list(LABELS), "image_size": tiny.IMAGE_SIZE})


@pytest.fixture
def model():
    return tiny.build(tiny.IMAGE_SIZE, 3)


def test_each_class_is_spread_evenly_over_all_folds():
    labels = np.repeat([0, 1, 2], [11, 5, 2])
    fold = cross_validation.stratified_folds(labels, 5, seed=3)
    for label in range(3):
        counts = np.bincount(fold[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    counts = np.bincount(fold)
    assert counts.max() - counts.min() <= 1
    assert not np.array_equal(fold, cross_validation.stratified_folds(labels, 5, seed=4))


def test_separable_classes_are_predicted_correctly(model, config):
    found = features(10, noise=0.3)
    predicted = cross_validation.cross_validate(model, found, config, tiny.TRAINING)
    assert (predicted == found.labels).mean() == 1.0


def test_no_head_is_trained_on_the_images_it_predicts(model, config):
    """Random labels: only a head trained on them could predict them."""
    found = features(20, noise=1.0)
    chance = np.random.default_rng(1).permutation(found.labels)
    shuffled = Features(found.values, chance, found.count, 3)
    predicted = cross_validation.cross_validate(model, shuffled, config, tiny.TRAINING)
    assert (predicted == chance).mean() < 0.55


def test_every_head_starts_from_the_same_weights(model, config):
    settings = phases.resolve_settings(config.trainer, tiny.TRAINING)
    steps = settings.epochs * phases.steps_per_epoch(settings, 30)
    trainer = cross_validation.HeadTrainer(model, config, tiny.TRAINING, steps, 30)
    one, other = features(10, noise=0.3), features(10, noise=2.0, seed=5)
    trainer.fit(one)
    first = model.head.get_weights()
    trainer.fit(other)
    assert not np.allclose(first[0], model.head.get_weights()[0])
    trainer.fit(one)
    for before, after in zip(first, model.head.get_weights(), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-5)


def test_a_class_of_one_image_leaves_the_others_as_they_are(model, config):
    found = features(10, noise=0.3)
    few = cross_validation.select(found, np.arange(30) < 21)  # one star
    predicted = cross_validation.cross_validate(model, few, config, tiny.TRAINING)
    assert (predicted[:20] == few.labels[:20]).all()
