"""Cross-validation of the head of a pretrained network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models import input as examples
from models import optimization, phases
from models.input import Features
from models.options import Options
from models.registry import TrainingSettings
from models.transfer import Pretrained

FOLDS = 5


class HeadTrainer:
    """Trains the head of a model on features, each time from the same initial weights.

    Trains like the Trainer's phase `head`, but in one call of the compiled function and without
    validation.

    Args:
        model: a pretrained model outside any strategy, whose head is trained.
        config: all settings.
        own: the architecture's default settings of the head.
        steps: number of training steps.
        images: number of training images.
        class_weights: weight of each class in the loss; None weighs all equally.
    """

    def __init__(
        self,
        model: Pretrained,
        config: Options,
        own: TrainingSettings,
        steps: int,
        images: int,
        class_weights: Sequence[float] | None = None,
    ):
        self._head, self._steps = model.head, steps
        model.penalize(own.penalty / images)
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
        self._initial = [np.copy(value) for value in self._head.get_weights()]

    def fit(self, features: Features) -> None:
        """Trains the head on features, from its initial weights."""
        self._head.set_weights(self._initial)
        for variable in self._head.optimizer.variables:
            if variable is not self._head.optimizer.learning_rate:
                variable.assign(tf.zeros_like(variable))
        batches = examples.training(
            features, self._settings.batch_size, examples.Shard(), seed=self._seed, cache="none"
        )
        self._head.fit(batches, steps_per_epoch=self._steps, verbose=0)

    def predict(self, features: Features) -> NDArray[np.int64]:
        """Returns the most probable class of each image, int64 [n]."""
        values = tf.cast(features.values[:, 0], tf.float32)
        classes: NDArray[np.int64] = self._head(values, training=False).numpy().argmax(1)
        return classes


def cross_validate(
    model: Pretrained,
    features: Features,
    config: Options,
    own: TrainingSettings,
    folds: int = FOLDS,
) -> NDArray[np.int64]:
    """Predicts each image with a head that was trained on the other folds.

    Args:
        model: a pretrained model outside any strategy; its head is trained.
        features: features of all images.
        config: all settings.
        own: the architecture's default settings of the head.
        folds: number of folds, stratified by class.

    Returns:
        Predicted classes, int64 [n].

    Example:

    ```python
    import tensorflow as tf
    from models import cross_validation, export, extraction, options, registry
    from models.input import ExampleFiles

    config = options.parse({"labels": ["cat", "dog"], "image_size": 224})
    architecture = registry.find(config.model.name)
    model = export.build(config, architecture)
    source = ExampleFiles.of(["transformed/*"], config.image_size, len(config.labels))
    extractor = extraction.FeatureExtractor(model.backbone, tf.distribute.get_strategy())
    features = extractor.features(source)
    predicted = cross_validation.cross_validate(model, features, config, architecture.TRAINING)
    print((predicted == features.labels).mean())
    ```
    """
    fold = stratified_folds(features.labels, folds, config.trainer.seed or 0)
    settings = phases.resolve_settings(config.trainer, own)
    images = len(fold) - len(fold) // folds
    per_epoch = config.trainer.steps_per_epoch or phases.steps_per_epoch(settings, images)
    counts = np.bincount(features.labels, minlength=len(config.labels)).tolist()
    weights = optimization.class_weights(
        config.trainer.class_weights, config.labels, dict(zip(config.labels, counts, strict=True))
    )
    trainer = HeadTrainer(model, config, own, settings.epochs * per_epoch, images, weights)
    predicted = np.zeros_like(features.labels)
    for number in range(folds):
        held_out = fold == number
        if held_out.any() and not held_out.all():
            trainer.fit(select(features, ~held_out))
            predicted[held_out] = trainer.predict(select(features, held_out))
    return predicted


def stratified_folds(labels: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Returns the fold of each image, int64 [n], with each class spread evenly over the folds."""
    random, fold = np.random.default_rng(seed), np.zeros(len(labels), np.int64)
    assigned = 0
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        fold[members] = (assigned + np.arange(len(members))) % folds
        assigned += len(members)
    return fold


def select(features: Features, chosen: NDArray[Any]) -> Features:
    """Returns the features of some images, by mask or indices."""
    labels = features.labels[chosen]
    return Features(features.values[chosen], labels, len(labels), features.num_classes)


def join(parts: Sequence[Features]) -> Features:
    """Concatenates the features of several splits."""
    values, labels = (
        np.concatenate([getattr(each, name) for each in parts]) for name in ("values", "labels")
    )
    return Features(values, labels, len(labels), parts[0].num_classes)
