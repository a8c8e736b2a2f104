"""What `trainer.xla` and `trainer.mixed_precision` ask of every architecture, without a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models import optimization, registry
from models.distributed import devices
from models.options import TrainerOptions

SIZE = 48
SMALL = {"pawnet": {"filters": [8, 8]}}


def slow(name: str):
    return pytest.param(name, marks=pytest.mark.slow)


def build(name: str):
    return registry.find(name).build(SIZE, 2, **SMALL.get(name, {}))


@pytest.mark.parametrize(
    "name", ["article_cnn", "pawnet", slow("efficientnet_lite0"), slow("pretrained")]
)
def test_xla_compiles_a_training_step(name):
    model = build(name)

    @tf.function(jit_compile=True)
    def gradients(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True) ** 2)
        return loss, tape.gradient(loss, model.trainable_variables[-2:])

    loss, changes = gradients(tf.zeros([2, SIZE, SIZE, 3]))
    assert np.isfinite(loss)
    assert [change.shape for change in changes] == [
        variable.shape for variable in model.trainable_variables[-2:]
    ]


@pytest.mark.parametrize("name", [slow("article_cnn"), slow("efficientnet_lite0"), "pawnet"])
def test_half_precision_learns_and_answers_in_full(name):
    options = TrainerOptions(mixed_precision=True)
    with devices.precision(options):
        model = build(name)
        training = registry.find(name).TRAINING
        optimization.compile_model(
            model, ["cat", "dog"], options, training, total_steps=4, replicas=1
        )
    images = np.random.default_rng(0).integers(0, 256, [8, SIZE, SIZE, 3]).astype(np.float32)
    before = model.get_weights()
    # The first steps may be left out, until the scale of the loss has come down far enough.
    labels = np.eye(2)[[0, 1] * 4]
    history = model.fit(images, labels, batch_size=8, epochs=10, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert any(changed)
    assert {weight.dtype for weight in model.weights} == {tf.float32}
    assert {layer.compute_dtype for layer in model.layers} >= {"float16", "float32"}
    assert model(images).dtype == tf.float32
