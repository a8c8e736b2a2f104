"""The serving gate against models that are broken in one way each."""

import pytest
import tensorflow as tf

from data import samples
from pipeline.gate.serving_check import probe

LABELS = ["cat", "dog"]
SIZE = 32
SETTINGS = {"labels": LABELS, "image_size": SIZE, "max_probability_difference": 0.02}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "photos"
    samples.draw(folder, count=4, size=SIZE)
    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "image": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[path.read_bytes()])
                    )
                }
            )
        ).SerializeToString()
        for path in sorted(folder.rglob("*.jpg"))
    ]


class Brightness(tf.Module):
    """Serves as our models do: bright photos are dogs."""

    def __init__(self, labels=LABELS, pixel_scale=1.0):
        super().__init__()
        self.labels = tf.constant(labels)
        self.pixel_scale = pixel_scale

    def _answer(self, pixels):
        bright = tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[1, 2, 3]) / 255
        probabilities = tf.stack([1 - bright, bright], axis=1)
        index = tf.argmax(probabilities, axis=1)
        return {
            "label": tf.gather(self.labels, index),
            "label_index": index,
            "probabilities": probabilities,
        }

    def _decode(self, photo):
        pixels = tf.io.decode_jpeg(photo, channels=3, dct_method="INTEGER_ACCURATE")
        resized = tf.image.resize(pixels, [SIZE, SIZE], antialias=True)
        return tf.cast(tf.round(resized), tf.uint8)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def photos(self, image_bytes):
        return self._answer(tf.map_fn(self._decode, image_bytes, fn_output_signature=tf.uint8))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def records(self, examples):
        spec = {"image": tf.io.FixedLenFeature([], tf.string)}
        return self.photos(tf.io.parse_example(examples, spec)["image"])

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.uint8, name="pixels")])
    def pixels(self, pixels):
        return self._answer(tf.cast(pixels, tf.float32) * self.pixel_scale)


def save(model, folder, without=()):
    signatures = {
        "serving_default": model.records,
        "serving_jpeg": model.photos,
        "serving_pixels": model.pixels,
    }
    kept = {name: function for name, function in signatures.items() if name not in without}
    tf.saved_model.save(model, str(folder), signatures=kept)
    return str(folder)


def failed(model_path, records, timeout=120):
    checks = probe(model_path, records, SETTINGS, timeout)
    return [check["name"] for check in checks if not check["passed"]]


def test_a_sound_model_passes_every_check(records, tmp_path):
    assert failed(save(Brightness(), tmp_path), records) == []


def test_a_missing_signature_is_named(records, tmp_path):
    path = save(Brightness(), tmp_path, without=["serving_jpeg"])
    assert failed(path, records) == ["signatures"]


def test_wrong_label_names_are_refused(records, tmp_path):
    names = failed(save(Brightness(labels=["dog", "cat"]), tmp_path), records)
    assert set(names) == {
        f"serving_{kind} names the labels" for kind in ("default", "jpeg", "pixels")
    }


def test_signatures_that_disagree_are_refused(records, tmp_path):
    names = failed(save(Brightness(pixel_scale=0.5), tmp_path), records)
    assert "serving_pixels agrees with serving_default" in names


def test_a_folder_without_a_model_and_a_model_that_hangs_are_refused(records, tmp_path):
    assert failed(str(tmp_path), records) == ["answers requests"]
    assert failed(save(Brightness(), tmp_path / "m"), records, timeout=0.1) == ["answers in time"]
