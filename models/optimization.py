"""Loss, metrics, learning rate and optimizer, compiled into a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from models.input import ExampleFiles, class_counts
from models.options import TrainerOptions
from models.registry import TrainingSettings

_WARM_UP = 0.05
_MOMENTUM = 0.9


class WeightedCrossentropy(tf_keras.losses.Loss):
    """Cross-entropy of one-hot labels with label smoothing and class weights.

    Args:
        class_weights: weight of each class, by index; None weighs all equally.
        label_smoothing: share of the target probability spread evenly over all classes.
    """

    def __init__(self, class_weights: Sequence[float] | None, label_smoothing: float = 0.0):
        super().__init__(name="weighted_crossentropy")
        self.class_weights, self.label_smoothing = class_weights, label_smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Maps labels and probabilities, float32 [batch, classes], to losses [batch]."""
        loss = tf_keras.losses.categorical_crossentropy(
            y_true, y_pred, label_smoothing=self.label_smoothing
        )
        if self.class_weights is None:
            return loss
        return loss * tf.linalg.matvec(y_true, tf.constant(self.class_weights, y_true.dtype))


class OneVsRestAUC(tf_keras.metrics.AUC):
    """Mean one-vs-rest area under the ROC curve.

    Leaves out classes without examples, and a class that all examples belong to: their ROC curve is
    undefined.
    """

    def __init__(self, num_classes: int, name: str = "auc"):
        super().__init__(multi_label=True, num_labels=num_classes, name=name)

    def result(self) -> tf.Tensor:
        """Returns a float32 scalar; 0 if no class has an ROC curve."""
        examples = self.true_positives[0] + self.false_negatives[0]
        others = self.true_negatives[0] + self.false_positives[0]
        self.label_weights = tf.cast((examples > 0) & (others > 0), tf.float32)
        try:
            return super().result()
        finally:
            self.label_weights = None


class Recalls(tf_keras.metrics.Metric):
    """Recall of every class, named `recall_<label>`.

    Computes all classes in one metric, because one Keras metric per class takes 7 s to trace for 40
    classes.

    Args:
        labels: class names in the order of their indices.
    """

    def __init__(self, labels: Sequence[str]):
        super().__init__(name="recalls")
        self._labels = tuple(labels)
        shape = [len(labels)]
        self.true_positives = self.add_weight("true_positives", shape, initializer="zeros")
        self.examples = self.add_weight("examples", shape, initializer="zeros")

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        """Adds labels and probabilities, float32 [batch, classes], and weights, [batch]."""
        y_true = tf.cast(y_true, tf.float32)
        if sample_weight is not None:
            y_true *= tf.reshape(tf.cast(sample_weight, tf.float32), [-1, 1])
        found = tf.one_hot(tf.argmax(y_pred, axis=1), len(self._labels))
        self.true_positives.assign_add(tf.reduce_sum(y_true * found, axis=0))
        self.examples.assign_add(tf.reduce_sum(y_true, axis=0))

    def result(self) -> dict[str, tf.Tensor]:
        """Returns float32 scalars by name; 0 for a class without examples."""
        recalls = tf.math.divide_no_nan(self.true_positives, self.examples)
        return {f"recall_{label}": recalls[i] for i, label in enumerate(self._labels)}

    def reset_state(self) -> None:
        """Sets all counts to zero."""
        for variable in self.variables:
            variable.assign(tf.zeros_like(variable))


def compile_model(
    model: tf_keras.Model,
    labels: Sequence[str],
    options: TrainerOptions,
    settings: TrainingSettings,
    *,
    total_steps: int,
    replicas: int,
    class_weights: Sequence[float] | None = None,
) -> None:
    """Compiles a classifier of one-hot labels; call under the strategy's scope.

    Args:
        model: maps images or features to probabilities.
        labels: class names in the order of their indices.
        options: the user's settings.
        settings: settings of the phase with all defaults filled in.
        total_steps: number of training steps, for the schedule.
        replicas: number of replicas in sync, for the scaling of the learning rate.
        class_weights: weight of each class in the loss; None weighs all equally.
    """
    rate: Any = settings.learning_rate
    rate *= {"none": 1.0, "linear": replicas, "sqrt": replicas**0.5}[options.lr_scaling]
    if settings.schedule == "cosine":
        rate = _cosine(rate, total_steps)
    model.compile(
        optimizer=_optimizer(settings, rate),
        loss=WeightedCrossentropy(class_weights, settings.label_smoothing),
        # Weighted, because the padding of the last validation batches has weight zero.
        weighted_metrics=_metrics(labels),
        jit_compile=options.xla,
        steps_per_execution=options.steps_per_execution,
    )


def class_weights(
    wanted: str | Mapping[str, float] | None,
    labels: Sequence[str],
    train: ExampleFiles | Mapping[str, int],
) -> list[float] | None:
    """Computes the weight of each class in the loss.

    Args:
        wanted: `TrainerOptions.class_weights`.
        labels: class names in the order of their indices.
        train: number of training examples by label, or the examples, which `balanced` counts by
            reading them.

    Returns:
        Weights by class index; None if all classes weigh the same. The mean weight of the training
        examples under `balanced` is one.

    Raises:
        ValueError: The weights lack a label, name an unknown one, or are negative.
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):  # `balanced`
        if isinstance(train, ExampleFiles):
            counts = class_counts(train)
        else:
            counts = [train.get(label, 0) for label in labels]
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
    return [accuracy, OneVsRestAUC(len(labels)), Recalls(labels)]


def _cosine(peak: float, total_steps: int) -> tf_keras.optimizers.schedules.LearningRateSchedule:
    warm_up = max(1, round(total_steps * _WARM_UP))
    return tf_keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak / 25,
        decay_steps=max(1, total_steps - warm_up),
        warmup_target=peak,
        warmup_steps=warm_up,
    )


def _optimizer(settings: TrainingSettings, rate: Any) -> tf_keras.optimizers.Optimizer:
    if settings.optimizer == "rmsprop":
        return tf_keras.optimizers.RMSprop(rate)
    if settings.optimizer == "sgd":
        return tf_keras.optimizers.SGD(rate, momentum=_MOMENTUM, nesterov=True)
    optimizer = tf_keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    # Biases and normalisation parameters are not decayed.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
