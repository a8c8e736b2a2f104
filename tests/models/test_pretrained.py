"""Networks of keras.applications with weights from a file."""

from __future__ import annotations

import inspect
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


def published(backbone: str, path: Path, monkeypatch) -> tf_keras.Model:
    """The network as Keras builds it around its published weights, which are drawn here."""
    from tf_keras.src.utils import data_utils

    with monkeypatch.context() as patch:
        patch.setattr(data_utils, "get_file", lambda *args, **kwargs: path)
        patch.setattr(tf_keras.Model, "load_weights", lambda *args, **kwargs: None)
        network = getattr(tf_keras.applications, backbone)(
            include_top=False, weights="imagenet", input_shape=[SIZE, SIZE, 3]
        )
    network.save_weights(path)
    return network


BACKBONES = [
    name if name == "MobileNetV2" else pytest.param(name, marks=pytest.mark.slow)
    for name in sorted(pretrained._WANTS_SCALING)
]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_network_with_its_weights_is_the_one_of_keras(backbone, tmp_path, monkeypatch):
    theirs = published(backbone, tmp_path / "weights.h5", monkeypatch)
    model = pretrained.build(SIZE, 3, backbone=backbone, weights=str(tmp_path / "weights.h5"))
    assert len(model.trainable_variables) == 2, "only the classifier learns"
    images = np.random.default_rng(0).integers(0, 256, [2, SIZE, SIZE, 3]).astype(np.float32)
    scale = inspect.getmodule(getattr(tf_keras.applications, backbone)).preprocess_input
    expected = theirs(scale(images.copy()), training=False)
    ours = images
    for layer in model.layers[1 : model.layers.index(features_of(model)) + 1]:
        ours = layer(ours)
    spread = np.std(expected)  # Drawn weights leave next to nothing of a signal.
    np.testing.assert_allclose(ours / spread, expected / spread, atol=1e-2)
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
    with pytest.raises(ValueError, match="does not hold the weights of ResNet50V2"):
        pretrained.build(SIZE, 2, backbone="ResNet50V2", weights=str(weights))
    with pytest.raises(ValueError, match=r"Received: 'MobileNet9'\. Known: EfficientNetV2B0"):
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
