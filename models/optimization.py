"""Loss, metrics, learning rate and optimizer, compiled into a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf
import tf_keras

from models.input import Source, class_counts
from models.options import TrainerOptions
from models.registry import Training

_WARM_UP = 0.05
_MOMENTUM = 0.9


class WeightedCrossentropy(tf_keras.losses.Loss):
    """Cross-entropy of one-hot labels with smoothing and a weight for each class.

    Args:
        class_weights: factor on the loss of each class's examples, by index; None for none.
        label_smoothing: share of the target spread evenly over all classes.
    """

    def __init__(self, class_weights: Sequence[float] | None, label_smoothing: float = 0.0):
        super().__init__(name="weighted_crossentropy")
        self.class_weights, self.label_smoothing = class_weights, label_smoothing

    def call(self, y_true, y_pred):
        """Float32 [batch, classes] twice to losses [batch]."""
        loss = tf_keras.losses.categorical_crossentropy(
            y_true, y_pred, label_smoothing=self.label_smoothing
        )
        if self.class_weights is None:
            return loss
        return loss * tf.linalg.matvec(y_true, tf.constant(self.class_weights, y_true.dtype))


class OneAgainstRest(tf_keras.metrics.AUC):
    """The area under the ROC curve of each class against the others, averaged over the classes.

    Classes of which there is no example, or nothing else, have no curve and no part in it.
    """

    def __init__(self, num_classes: int, name: str = "auc"):
        super().__init__(multi_label=True, num_labels=num_classes, name=name)

    def result(self):
        """Float32 scalar; 0 where no class has a curve."""
        examples = self.true_positives[0] + self.false_negatives[0]
        others = self.true_negatives[0] + self.false_positives[0]
        self.label_weights = tf.cast((examples > 0) & (others > 0), tf.float32)
        try:
            return super().result()
        finally:
            self.label_weights = None


class Recalls(tf_keras.metrics.Metric):
    """The recall of every class, as `recall_<label>`.

    One metric of Keras a class gives the same, and with 40 classes takes 7 s to trace.

    Args:
        labels: class names in the order of their indices.
    """

    def __init__(self, labels: Sequence[str]):
        super().__init__(name="recalls")
        self._labels = tuple(labels)
        shape = [len(labels)]
        self.right = self.add_weight("right", shape, initializer="zeros")
        self.examples = self.add_weight("examples", shape, initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds one-hot labels and probabilities, float32 [batch, classes], and their weights."""
        y_true = tf.cast(y_true, tf.float32)
        if sample_weight is not None:
            y_true *= tf.reshape(tf.cast(sample_weight, tf.float32), [-1, 1])
        found = tf.one_hot(tf.argmax(y_pred, axis=1), len(self._labels))
        self.right.assign_add(tf.reduce_sum(y_true * found, axis=0))
        self.examples.assign_add(tf.reduce_sum(y_true, axis=0))

    def result(self):
        """Float32 scalars by name; 0 for a class without examples."""
        recalls = tf.math.divide_no_nan(self.right, self.examples)
        return {f"recall_{label}": recalls[i] for i, label in enumerate(self._labels)}

    def reset_state(self):
        """Begins to count anew."""
        for variable in self.variables:
            variable.assign(tf.zeros_like(variable))


def compile_model(
    model: tf_keras.Model,
    labels: Sequence[str],
    options: TrainerOptions,
    settings: Training,
    *,
    total_steps: int,
    replicas: int,
    class_weights: Sequence[float] | None = None,
) -> None:
    """Compiles a classifier of one-hot labels; call under the strategy's scope.

    Args:
        model: images to probabilities.
        labels: class names in the order of their indices.
        options: the user's settings of how the work is done.
        settings: epochs, rates and the like.
        total_steps: length of the training, for the schedule.
        replicas: replicas in sync, for the scaling of the learning rate.
        class_weights: factor on the loss of each class's examples; None weighs all alike.
    """
    rate = settings.learning_rate
    rate *= {"none": 1.0, "linear": replicas, "sqrt": replicas**0.5}[options.lr_scaling]
    if settings.schedule == "cosine":
        rate = _cosine(rate, total_steps)
    model.compile(
        optimizer=_optimizer(settings, rate),
        loss=WeightedCrossentropy(class_weights, settings.label_smoothing),
        # Weighted, so that the filling of the last validation batches counts for nothing.
        weighted_metrics=_metrics(labels),
        jit_compile=options.xla,
        steps_per_execution=options.steps_per_execution,
    )


def class_weights(
    wanted: str | Mapping[str, float] | None,
    labels: Sequence[str],
    train: Source,
    label_counts: Mapping[str, int] | None = None,
) -> list[float] | None:
    """The weight of each class in the loss, by index, or None where all weigh alike.

    Args:
        wanted: `TrainerOptions.class_weights`.
        labels: class names in the order of their indices.
        train: the training examples, read through for `balanced` where there are no counts.
        label_counts: number of training examples by label.

    Raises:
        ValueError: weights for unknown labels, without some label, or below zero.
    """
    if wanted is None:
        return None
    if wanted == "balanced":
        counts = [label_counts.get(label, 0) for label in labels] if label_counts else None
        counts = counts or class_counts(train)
        # A class without examples has no weight to give; the mean over examples is one.
        present = sum(count > 0 for count in counts)
        return [sum(counts) / (present * count) if count else 0.0 for count in counts]
    if set(wanted) != set(labels) or min(wanted.values()) < 0:
        raise ValueError(
            f"Invalid trainer.class_weights: expected a weight >= 0 for each of {list(labels)}. "
            f"Received: {dict(wanted)}."
        )
    return [float(wanted[label]) for label in labels]


def _metrics(labels: Sequence[str]) -> list[tf_keras.metrics.Metric]:
    accuracy = tf_keras.metrics.CategoricalAccuracy(name="accuracy")
    return [accuracy, OneAgainstRest(len(labels)), Recalls(labels)]


def _cosine(peak: float, total_steps: int):
    warm_up = max(1, round(total_steps * _WARM_UP))
    return tf_keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak / 25,
        decay_steps=max(1, total_steps - warm_up),
        warmup_target=peak,
        warmup_steps=warm_up,
    )


def _optimizer(training: Training, rate) -> tf_keras.optimizers.Optimizer:
    if training.optimizer == "rmsprop":
        return tf_keras.optimizers.RMSprop(rate)
    if training.optimizer == "sgd":
        return tf_keras.optimizers.SGD(rate, momentum=_MOMENTUM, nesterov=True)
    optimizer = tf_keras.optimizers.AdamW(rate, weight_decay=training.weight_decay)
    # Decay shrinks what weighs features, not what shifts or normalises them.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
