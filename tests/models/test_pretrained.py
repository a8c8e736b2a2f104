"""Networks of keras.applications with weights from a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tf_keras

from models.architectures import pretrained
from tests.models.test_trainer import fn_args

SIZE = 48


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Weights that no other initialisation would draw."""
    tf_keras.utils.set_random_seed(7)
    network = tf_keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=[SIZE, SIZE, 3]
    )
    path = tmp_path_factory.mktemp("weights") / "network.h5"
    network.save_weights(path)
    return path


def features_of(model: tf_keras.Model) -> tf_keras.Model:
    return next(layer for layer in model.layers if isinstance(layer, tf_keras.Model))


def test_weights_are_read_and_only_the_classifier_learns(weights):
    model = pretrained.build(SIZE, 3, weights=str(weights))
    expected = tf_keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=[SIZE, SIZE, 3]
    )
    expected.load_weights(weights)
    network = features_of(model)
    for ours, theirs in zip(network.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(model.trainable_variables) == 2
    images = np.random.default_rng(0).integers(0, 256, [2, SIZE, SIZE, 3]).astype(np.float32)
    np.testing.assert_allclose(
        network(images / 127.5 - 1, training=False),
        expected(tf_keras.applications.mobilenet_v2.preprocess_input(images.copy())),
        atol=1e-4,
    )
    np.testing.assert_allclose(model(images).numpy().sum(axis=1), 1, atol=1e-5)


def test_all_of_it_learns_where_that_is_asked_for(weights):
    network = features_of(pretrained.build(SIZE, 2, weights=str(weights), fine_tune=True))
    assert len(network.trainable_variables) > 100


def test_wrong_weights_and_names_are_told(weights, tmp_path):
    with pytest.raises(ValueError, match=r"weights: there is no file /nowhere/x\.h5"):
        pretrained.build(SIZE, 2, weights="/nowhere/x.h5")
    other = tmp_path / "text.h5"
    other.write_text("no weights")
    with pytest.raises(ValueError, match=r"text\.h5 does not hold the weights of MobileNetV2"):
        pretrained.build(SIZE, 2, weights=str(other))
    with pytest.raises(ValueError, match="does not hold the weights of EfficientNetB0"):
        pretrained.build(SIZE, 2, backbone="EfficientNetB0", weights=str(weights))
    with pytest.raises(ValueError, match=r"Received: 'MobileNet9'\. Known: EfficientNetB0"):
        pretrained.build(SIZE, 2, backbone="MobileNet9")


@pytest.mark.slow
def test_the_trainer_leaves_the_network_as_it_was(weights, transformed, tmp_path):
    from models import trainer

    model = {"name": "pretrained", "weights": str(weights)}
    options = {"epochs": 1, "batch_size": 8}
    provenance = {"weights_digest": "of-the-file"}
    args = fn_args(transformed, tmp_path, model=model, trainer=options, provenance=provenance)
    trainer.run_fn(args)
    card = json.loads((tmp_path / "model" / "model_card.json").read_text())
    assert card["provenance"]["weights_digest"] == "of-the-file"
    assert card["provenance"]["settings"]["model"]["weights"] == str(weights)
    assert (tmp_path / "model" / "Format-Serving" / "saved_model.pb").is_file()
