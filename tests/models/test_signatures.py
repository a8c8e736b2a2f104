"""`serving_pixels`: images of any size, resized in the graph as training resizes them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras
from PIL import Image

from data.record import photos, records
from models import preprocessing, signatures
from tests.models import drawn

SHAPES = {"own size": (48, 48), "article's": (150, 150), "wide": (60, 97), "tiny": (1, 2)}


@pytest.fixture(scope="module")
def model(transformed):
    tf_keras.utils.set_random_seed(7)
    layers = tf_keras.layers
    size = transformed.image_size
    return tf_keras.Sequential(
        [
            layers.Input([size, size, 3]),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )


@pytest.fixture(scope="module")
def served(model, transformed, tmp_path_factory):
    """The exported signatures by name."""
    path = str(tmp_path_factory.mktemp("signatures") / "model")
    output = tft.TFTransformOutput(str(transformed.root / "transform"))
    classifier = signatures.Classifier(model, output, transformed.labels, transformed.image_size)
    classifier.save(path)
    loaded = tf.saved_model.load(path)
    # The loaded object owns the variables of its signatures.
    return {**loaded.signatures, "owner": loaded}


def image(height: int, width: int, seed: int = 1) -> np.ndarray:
    """uint8 [height, width, 3]."""
    return np.asarray(drawn.drawing(seed % 2, seed).resize((width, height)))


def ask_pixels(served, pixels) -> np.ndarray:
    pixels = tf.constant(pixels, tf.float32)
    return served["serving_pixels"](pixels=pixels)["probabilities"].numpy()


def called(model, pixels) -> np.ndarray:
    """The Keras model itself on uint8 pixels of its own size."""
    return tf.function(model)(tf.cast(pixels, tf.float32), training=False).numpy()


def test_the_bound_of_pixels_is_that_of_photos():
    assert signatures.MAX_PIXELS == photos.MAX_PIXELS


def test_the_signature_names_no_size(served):
    spec = served["serving_pixels"].structured_input_signature[1]["pixels"]
    assert spec.dtype == tf.float32 and spec.shape.as_list() == [None, None, None, 3]


def test_pixels_of_the_models_own_size_are_not_changed(served, model):
    batch = np.stack([image(48, 48, seed) for seed in range(4)])
    np.testing.assert_array_equal(ask_pixels(served, batch), called(model, batch))
    # Neither rounded nor clipped: what the model gets is what the client sent.
    odd = np.random.default_rng(1).uniform(-3, 260, [2, 48, 48, 3]).astype(np.float32)
    np.testing.assert_array_equal(ask_pixels(served, odd), called(model, odd))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_pixels_of_any_size_are_resized_as_in_training(served, model, shape):
    batch = np.stack([image(*shape, seed) for seed in (1, 2, 3)])
    at_model_size = preprocessing.resize(tf.constant(batch), 48)
    np.testing.assert_array_equal(ask_pixels(served, batch), called(model, at_model_size))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_one_photo_gets_one_answer_from_all_signatures(served, shape):
    pixels = image(*shape)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    file = buffer.getvalue()
    answers = [
        served["serving_default"](examples=tf.constant([records.serialize({"image": file})])),
        served["serving_jpeg"](image_bytes=tf.constant([file])),
        served["serving_pixels"](pixels=tf.constant(pixels[None], tf.float32)),
    ]
    for answer in answers[1:]:
        assert answer["label"].numpy().tolist() == answers[0]["label"].numpy().tolist()
        np.testing.assert_array_equal(answer["probabilities"], answers[0]["probabilities"])


@pytest.mark.parametrize(
    "shape", [(1, 0, 5, 3), (1, 5, 0, 3), (0, 10_000, 10_000, 3)], ids=["flat", "thin", "too many"]
)
def test_images_without_pixels_or_with_too_many_are_an_error(served, shape):
    said = r"serving_pixels takes images of 1 to 89478485 pixels; height and width:\] \[\d+ \d+\]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        ask_pixels(served, np.zeros(shape, np.float32))


@pytest.mark.parametrize("size", [48, 50])
@pytest.mark.parametrize("channels", [1, 5, 6])
def test_images_of_other_channels_are_an_error(served, size, channels):
    said = rf"\[1,{size},{size},{channels}\] is not compatible with expected shape \[\?,\?,\?,3\]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        ask_pixels(served, np.zeros([1, size, size, channels], np.float32))
