"""How well heads on the features of a pretrained network do on photos that they have not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from models import input as examples
from models import optimization, phases
from models.input import Features
from models.options import Options
from models.registry import Training
from models.transfer import Pretrained

FOLDS = 5


class HeadTrainer:
    """Trains the head of a model on features, each time from the same beginning.

    It does what the head's part of a training does, in one call of the compiled function and
    without validation.

    Args:
        model: whose head is trained; outside any strategy.
        config: all settings.
        own: the architecture's settings of the head.
        steps: training steps.
        photos: number of training photos.
        class_weights: factor on the loss of each class's examples; None weighs all alike.
    """

    def __init__(
        self,
        model: Pretrained,
        config: Options,
        own: Training,
        steps: int,
        photos: int,
        class_weights: Sequence[float] | None = None,
    ):
        self._head, self._steps = model.head, steps
        model.penalize(own.penalty / photos)
        self._settings = phases.resolve_settings(config.trainer, own)
        self._seed = config.trainer.seed
        once = dataclasses.replace(config.trainer, steps_per_execution=steps)
        optimization.compile_model(
            self._head,
            config.labels,
            once,
            self._settings,
            total_steps=steps,
            replicas=1,
            class_weights=class_weights,
        )
        self._head.optimizer.build(self._head.trainable_variables)
        self._beginning = [np.copy(value) for value in self._head.get_weights()]

    def fit(self, features: Features) -> None:
        """Trains the head on all of the features."""
        self._head.set_weights(self._beginning)
        for variable in self._head.optimizer.variables:
            if variable is not self._head.optimizer.learning_rate:
                variable.assign(tf.zeros_like(variable))
        batches = examples.training(
            features, self._settings.batch_size, examples.Shard(), seed=self._seed, cache="none"
        )
        self._head.fit(batches, steps_per_epoch=self._steps, verbose=0)

    def predict(self, features: Features) -> np.ndarray:
        """The most probable class of each photo, int64 [n]."""
        values = tf.cast(features.values[:, 0], tf.float32)
        return self._head(values, training=False).numpy().argmax(1)


def cross_validate(
    model: Pretrained, features: Features, config: Options, own: Training, folds: int = FOLDS
) -> np.ndarray:
    """What heads that were trained on the other folds take each photo for.

    Args:
        model: outside any strategy; its head is trained.
        features: of all photos.
        config: all settings.
        own: the architecture's settings of the head.
        folds: parts into which each class is dealt.

    Returns:
        Predicted classes, int64 [n].
    """
    fold = stratified_folds(features.labels, folds, config.trainer.seed or 0)
    settings = phases.resolve_settings(config.trainer, own)
    photos = len(fold) - len(fold) // folds
    each = config.trainer.steps_per_epoch or phases.steps_an_epoch(settings, photos)
    steps = settings.epochs * each
    counts = dict(
        zip(config.labels, np.bincount(features.labels, minlength=len(config.labels)), strict=True)
    )
    weights = optimization.class_weights(
        config.trainer.class_weights, config.labels, None, {k: int(v) for k, v in counts.items()}
    )
    trainer = HeadTrainer(model, config, own, steps, photos, weights)
    predicted = np.zeros_like(features.labels)
    for number in range(folds):
        held_out = fold == number
        if held_out.any() and not held_out.all():
            trainer.fit(part(features, ~held_out))
            predicted[held_out] = trainer.predict(part(features, held_out))
    return predicted


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each photo, int64 [n]: each class is spread evenly over all folds."""
    random, fold = np.random.default_rng(seed), np.zeros(len(labels), np.int64)
    dealt = 0
    for label in np.unique(labels):
        mine = random.permutation(np.flatnonzero(labels == label))
        fold[mine] = (dealt + np.arange(len(mine))) % folds
        dealt += len(mine)
    return fold


def part(features: Features, chosen: np.ndarray) -> Features:
    """The features of some photos, by a mask or indices."""
    labels = features.labels[chosen]
    return Features(features.values[chosen], labels, len(labels), features.num_classes)


def join(parts: Sequence[Features]) -> Features:
    """All features of several splits."""
    values, labels = (
        np.concatenate([getattr(each, name) for each in parts]) for name in ("values", "labels")
    )
    return Features(values, labels, len(labels), parts[0].num_classes)
