"""Both encodings of a record end in the same pixels, and those are the photo's."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models import preprocessing
from tests.models import drawn


def transform(images: list[bytes], shapes: list[tuple[int, int, int]] | None = None, size=32):
    """Images [n, size, size, 3] by way of `preprocessing_fn`."""
    inputs = {"image": tf.constant(images)}
    names = ("image_height", "image_width", "image_channels")
    for index, name in enumerate(names if shapes else ()):
        inputs[name] = tf.constant([shape[index] for shape in shapes], tf.int64)
    outputs = preprocessing.preprocessing_fn(inputs, {"image_size": size})
    return preprocessing.unpack(outputs["image"], size).numpy()


@pytest.mark.parametrize("seed", range(4))
def test_both_encodings_give_equal_pixels(seed):
    content = drawn.jpeg(drawn.drawing(seed % 2, seed, (97, 61)))
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    encoded, raw = transform([content, drawn.raw(pixels)], [(0, 0, 0), pixels.shape])
    np.testing.assert_array_equal(encoded, raw)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_raw_pixels_of_any_channels_become_rgb(channels):
    random = np.random.default_rng(channels)
    pixels = random.integers(0, 256, (32, 32, channels), dtype=np.uint8)
    [image] = transform([drawn.raw(pixels)], [pixels.shape])
    expected = pixels[..., :3] if channels >= 3 else np.repeat(pixels[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_png_of_any_mode_is_read(mode):
    picture = drawn.drawing(0, 5).resize((32, 32)).convert(mode)
    [image] = transform([drawn.png(picture)])
    np.testing.assert_array_equal(image, np.asarray(picture.convert("RGB")))


def test_resizing_averages_instead_of_skipping():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = preprocessing.resize(tf.constant(stripes), 16).numpy()
    assert abs(int(small[8, 8, 0]) - 128) <= 8


def test_pack_and_unpack_are_inverse():
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)
    packed = preprocessing.pack(tf.constant(images))
    assert {len(item) for item in packed.numpy()} == {9 * 9 * 3}
    np.testing.assert_array_equal(preprocessing.unpack(packed, 9), images)


def test_label_may_be_sparse_or_absent():
    photo = drawn.jpeg(drawn.drawing(0, 1))
    label = tf.SparseTensor([[1, 0]], tf.constant([7], tf.int64), [2, 1])
    inputs = {"image": tf.constant([photo, photo])}
    assert "label" not in preprocessing.preprocessing_fn(inputs, {"image_size": 8})
    outputs = preprocessing.preprocessing_fn({**inputs, "label": label}, {"image_size": 8})
    assert outputs["label"].numpy().tolist() == [0, 7]


def test_pixels_that_disagree_with_their_shape_are_refused():
    pixels = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="differs from height"):
        transform([drawn.raw(pixels)], [(4, 4, 3)])


def test_bytes_that_are_no_image_are_refused():
    with pytest.raises(tf.errors.InvalidArgumentError):
        transform([b"\xff\xd8\xff broken"])
