"""EfficientNet-Lite0 is the published network, and the exported model sees what training saw."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras
from PIL import Image

from data.record import records
from models import extraction, preprocessing, registry, signatures
from models.backbones import efficientnet_lite, package, torch_file
from tests.models import conftest, drawn

SIZE = 224
COLUMNS = [989, 113, 400, 245, 455, 473, 949, 872]
KEPT = {
    "gradient": (12.4151, [1.62467, 4.79129, 0.85589, 1.57061, 1.98459, 1.47292, 1.11262, 0.47803]),
    "checks": (14.10178, [1.57278, 1.02196, 1.84356, 0.62492, 0.86493, 0.62114, 3.54013, 0.70913]),
    "rings": (19.36384, [4.28675, 1.62401, 3.24296, 1.57849, 0.61537, 0.52116, 0.48449, 0.79107]),
}
"""Norm, and the features at `COLUMNS`, of the published weights."""


def pictures() -> np.ndarray:
    """Float32 [3, 224, 224, 3] in 0..255, in the order of `KEPT`."""
    y, x = np.mgrid[:SIZE, :SIZE]
    gradient = np.stack([x, y, (x + y) / 2], -1) * (255 / (SIZE - 1))
    checks = np.repeat(((x // 16 + y // 16) % 2 * 255)[..., None], 3, -1)
    disc = np.where((x - 112) ** 2 + (y - 90) ** 2 < 60**2, 220, 40)
    rings = np.stack([disc, 255 - disc, (x * y) % 256], -1)
    return np.stack([gradient, checks, rings]).astype(np.float32)


@pytest.fixture(scope="session")
def weights() -> dict[str, np.ndarray]:
    with open(package.EFFICIENTNET_LITE0.find().path, "rb") as file:
        return torch_file.read(file)


@pytest.fixture(scope="session")
def model():
    """The default architecture for three classes, with a head that prefers none."""
    return registry.find("efficientnet_lite0").build(SIZE, 3)


def test_features_are_those_of_the_published_weights(model):
    found = model.backbone(pictures(), training=False).numpy()
    assert found.shape == (3, efficientnet_lite.FEATURES)
    for row, (norm, values) in zip(found, KEPT.values(), strict=True):
        assert np.linalg.norm(row[:1280]) == pytest.approx(norm, abs=1e-3)
        np.testing.assert_allclose(row[COLUMNS], values, atol=1e-3)


def test_the_other_features_are_maxima_of_lower_blocks(model):
    backbone = model.backbone
    outputs = [backbone.get_layer(name).output for name in ("block04_add", "block10_add")]
    found = backbone(pictures()).numpy()[:, 1280:] / 0.1
    low, high = (
        output.numpy().max((1, 2)) for output in tf_keras.Model(backbone.input, outputs)(pictures())
    )
    np.testing.assert_allclose(found[:, :40], low, rtol=1e-5)
    np.testing.assert_allclose(found[:, -112:], high, rtol=1e-5)


def test_training_sees_the_same_features(model):
    images = pictures()[:1]
    np.testing.assert_array_equal(
        model.backbone(images, training=True), model.backbone(images, training=False)
    )


def test_another_build_has_the_same_fingerprint(model, weights):
    again = efficientnet_lite.build(SIZE, weights)
    again.trainable = False
    assert extraction.fingerprint(again) == extraction.fingerprint(model.backbone)
    again.layers[3].set_weights([w + 1e-3 for w in again.layers[3].get_weights()])
    assert extraction.fingerprint(again) != extraction.fingerprint(model.backbone)


@pytest.mark.parametrize("size", [32, 150])
def test_other_sizes_build(weights, size):
    network = efficientnet_lite.build(size, weights)
    images = pictures()[:, :size, :size]
    features = network(images).numpy()
    assert features.shape == (3, efficientnet_lite.FEATURES)
    assert 0 <= features[:, :1280].min() < features[:, :1280].max() <= 6


def test_the_weights_of_another_network_are_refused(weights):
    lacking = {name: value for name, value in weights.items() if name != "_bn1.bias"}
    others = {**weights, "_blocks.3._project_conv.weight": np.zeros([40, 240, 3, 3], np.float32)}
    for wrong in (lacking, others):
        with pytest.raises(ValueError, match="not the weights of EfficientNet-Lite0"):
            efficientnet_lite.build(32, wrong)


def test_fine_tuning_lets_the_named_layers_learn_and_no_others(model):
    names = efficientnet_lite.layers_from(model.backbone, 6)
    assert len(names) == 91
    assert (names[0], names[-1]) == ("block06_expand_conv", "top_pool")
    assert not [name for name in names if name.startswith(("stem", "block05"))]
    assert efficientnet_lite.layers_from(model.backbone, 15)[0] == "block15_expand_conv"
    head = len(model.head.trainable_variables)
    assert len(model.trainable_variables) == head == 2
    model.unfreeze()
    try:
        learning = {v.name.split("/")[0] for v in model.backbone.trainable_variables}
        assert learning == {name for name in names if name.endswith(("conv", "norm"))}
    finally:
        model.freeze()
    assert len(model.trainable_variables) == head


@pytest.mark.parametrize("block", [-1, 16])
def test_a_block_out_of_range_is_an_error(block):
    with pytest.raises(ValueError, match=rf"first_block: expected 0 to 15\. Received: {block}"):
        registry.find("efficientnet_lite0").build(32, 2, first_block=block)


@pytest.fixture(scope="module")
def served(model, transformed, tmp_path_factory):
    """The signatures of the model's export, by name; its head is drawn at random."""
    root = tmp_path_factory.mktemp("lite0")
    conftest.transform(transformed.root / "raw", root, {}, SIZE)
    random = np.random.default_rng(3)
    model.head.set_weights([random.normal(0, 0.1, w.shape) for w in model.head.get_weights()])
    output = tft.TFTransformOutput(str(root / "transform"))
    classifier = signatures.Classifier(model, output, ["cat", "cow", "dog"], SIZE)
    classifier.save(str(root / "model"))
    loaded = tf.saved_model.load(str(root / "model"))
    return {**loaded.signatures, "owner": loaded}


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (97, 300)], ids=["own size", "wide"])
def test_a_photo_gets_the_answer_of_training_from_every_signature(served, model, shape):
    pixels = np.asarray(drawn.drawing(1, 5).resize(shape[::-1]))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    file = buffer.getvalue()
    resized = tf.cast(preprocessing.resize(tf.constant(pixels[None]), SIZE), tf.float32)
    features = model.backbone(resized, training=False)
    expected = model.head(features).numpy()
    assert expected.max() < 0.999, "nothing to tell apart"
    answers = [
        served["serving_default"](examples=tf.constant([records.serialize({"image": file})])),
        served["serving_jpeg"](image_bytes=tf.constant([file])),
        served["serving_pixels"](pixels=tf.constant(pixels[None], tf.float32)),
    ]
    for answer in answers:
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
        assert answer["label"].numpy()[0].decode() == ["cat", "cow", "dog"][expected.argmax()]
