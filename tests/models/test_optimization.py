"""Loss, schedule and weights as they are set."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from models import input as examples
from models import optimization, phases
from models.options import TrainerOptions
from models.registry import TrainingSettings

OWN = TrainingSettings(epochs=1, optimizer="adamw", learning_rate=0.1, weight_decay=0.5)


def compiled(replicas=1, total_steps=100, settings=OWN, **options) -> tf_keras.Model:
    model = tf_keras.Sequential([tf_keras.layers.Dense(2, activation="softmax", input_shape=[3])])
    optimization.compile_model(
        model,
        ["cat", "dog"],
        TrainerOptions(**options),
        settings,
        total_steps=total_steps,
        replicas=replicas,
    )
    return model


@pytest.mark.parametrize(("scaling", "rate"), [("none", 0.1), ("linear", 0.4), ("sqrt", 0.2)])
def test_learning_rate_grows_with_the_replicas(scaling, rate):
    model = compiled(replicas=4, lr_scaling=scaling)
    assert float(model.optimizer.learning_rate) == pytest.approx(rate)


def test_cosine_warms_up_and_ends_at_zero():
    cosine = dataclasses.replace(OWN, schedule="cosine", learning_rate=1.0)
    model = compiled(settings=cosine)
    schedule = model.optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(101)]
    assert rates[0] < 0.1 and max(rates) == pytest.approx(1.0) and rates[100] < 1e-3
    assert np.argmax(rates) == 5


def scores(predicted, truth, weights=None) -> dict[str, float]:
    """The metrics of predictions [n, 3] for classes [n]."""
    found = optimization._metrics(["cat", "dog", "cow"])
    for metric in found:
        metric.update_state(np.eye(3)[truth], np.array(predicted), sample_weight=weights)
    results = {}
    for metric in found:
        result = metric.result()
        results |= result if isinstance(result, dict) else {metric.name: result}
    return {name: round(float(value), 3) for name, value in results.items()}


def test_metrics_are_those_of_every_class():
    # The cat is right; of two dogs one is taken for a cat; the cow is taken for a dog.
    predicted = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]
    found = scores(predicted, [0, 1, 1, 2])
    assert (found["accuracy"], found["recall_cat"], found["recall_dog"], found["recall_cow"]) == (
        0.5,
        1.0,
        0.5,
        0.0,
    )
    # Pairs in the right order: cat 3 of 3, dog 3 of 4, cow 3 of 3.
    assert found["auc"] == pytest.approx((1 + 0.75 + 1) / 3, abs=1e-3)
    weighted = scores(predicted, [0, 1, 1, 2], weights=[1, 1, 0, 0])
    assert (weighted["accuracy"], weighted["recall_dog"]) == (1.0, 1.0)


def test_a_class_without_examples_has_no_part_in_the_auc():
    predicted = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]
    assert scores(predicted, [0, 1])["auc"] == pytest.approx(1.0, abs=1e-3)
    assert scores(predicted[:1], [0])["auc"] == 0.0


def test_label_smoothing_of_the_architecture_yields_to_the_users():
    smooth = TrainingSettings(epochs=1, optimizer="rmsprop", learning_rate=0.1, label_smoothing=0.2)
    settled = phases.resolve_settings(TrainerOptions(), smooth)
    assert settled == smooth
    assert compiled(settings=settled).loss.label_smoothing == 0.2
    settled = phases.resolve_settings(TrainerOptions(label_smoothing=0.0), smooth)
    assert compiled(settings=settled).loss.label_smoothing == 0.0


def test_each_phase_has_its_own_of_the_users_settings():
    options = TrainerOptions(
        epochs=3,
        learning_rate=0.1,
        fine_tuning_epochs=2,
        fine_tuning_learning_rate=0.01,
        batch_size=4,
        schedule="cosine",
    )
    head = phases.resolve_settings(options, OWN)
    assert (head.epochs, head.learning_rate, head.batch_size, head.schedule) == (
        3,
        0.1,
        4,
        "cosine",
    )
    tuning = phases.resolve_settings(options, OWN, fine_tuning=True)
    assert (tuning.epochs, tuning.learning_rate, tuning.batch_size) == (2, 0.01, 4)
    assert phases.resolve_settings(TrainerOptions(), OWN, fine_tuning=True) == OWN


@pytest.fixture
def unbalanced(tmp_path) -> examples.ExampleFiles:
    with tf.io.TFRecordWriter(f"{tmp_path}/examples") as writer:
        for label in (0, 0, 0, 1):
            feature = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(12)])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return examples.ExampleFiles.of([f"{tmp_path}/examples"], 2, 2)


def test_balanced_weights_make_classes_count_alike(unbalanced):
    labels = ["cat", "dog"]
    weights = optimization.class_weights("balanced", labels, unbalanced)
    assert weights == pytest.approx([4 / 6, 2.0])
    one_hot = np.eye(2, dtype=np.float32)[[0, 0, 0, 1]]
    loss = optimization.WeightedCrossentropy(weights).call(tf.constant(one_hot), one_hot * 0 + 0.5)
    np.testing.assert_allclose(loss.numpy() @ one_hot, np.log(2) * 2, rtol=1e-5)
    assert optimization.class_weights({"dog": 3, "cat": 1}, labels, unbalanced) == [1, 3]
    assert optimization.class_weights(None, labels, unbalanced) is None


def test_counts_of_labels_are_taken_in_place_of_reading():
    labels = ["cat", "dog", "cow"]
    counts = {"dog": 1, "cat": 200}
    weights = optimization.class_weights("balanced", labels, counts)
    assert weights == pytest.approx([201 / 400, 201 / 2, 0.0])
    assert (200 * weights[0] + weights[1]) / 201 == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(200)


@pytest.mark.parametrize("wrong", [{"cat": 1}, {"cat": 1, "cow": 1}, {"cat": 1, "dog": -1}])
def test_wrong_class_weights_are_refused(unbalanced, wrong):
    with pytest.raises(ValueError, match=r"class_weights: expected a weight >= 0 for each"):
        optimization.class_weights(wrong, ["cat", "dog"], unbalanced)
