"""A SavedModel in this process: arrays of several shapes, and models of earlier versions."""

import json

import numpy as np
import pytest
import tensorflow as tf

from pipeline.serve import payload
from pipeline.serve.errors import RequestError, RowError
from pipeline.serve.loaded_model import LoadedModel
from tests.pipeline.serve.conftest import save_model


class Sizes(tf.Module):
    """Answers with the sum of an image and the number of images in the call; refuses 7 in width."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="pixels")])
    def pixels(self, pixels):
        fits = tf.debugging.Assert(tf.shape(pixels)[2] != 7, ["images must not be 7 wide"])
        odd = tf.debugging.Assert(tf.reduce_all(pixels < 200), ["images must be dark"])
        with tf.control_dependencies([fits, odd]):
            count = tf.shape(pixels)[0]
            total = tf.reduce_sum(pixels, [1, 2, 3])
        # An image [1, 1, 3] of 100 is not answered.
        kept = total[: tf.where(tf.reduce_all(total == 300), count - 1, count)]
        return {"sum": kept, "called_with": tf.repeat(count, tf.size(kept))}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path, module = tmp_path_factory.mktemp("sizes"), Sizes()
    tf.saved_model.save(module, str(path), signatures={"serving_pixels": module.pixels})
    return LoadedModel(path, 1)


@pytest.fixture(scope="module")
def old_model(tmp_path_factory):
    """As an earlier version exported it: arrays of one size."""
    return LoadedModel(save_model(tmp_path_factory.mktemp("old") / "model", 0.3, side=150), 1)


def image(height: int, width: int, value: float = 1) -> np.ndarray:
    return np.full([height, width, 3], value, np.float32)


def ask(model, *rows):
    return model.predict(model.signatures["serving_pixels"], rows)


def read(model, *instances):
    return payload.read(json.dumps({"instances": instances}).encode(), model.signatures, 64).rows


def test_rows_of_one_shape_share_a_call_and_results_keep_the_order(model):
    shapes = [(2, 3), (5, 4), (2, 3), (3, 2), (5, 4), (2, 3)]
    answers = ask(model, *(image(*shape, number) for number, shape in enumerate(shapes)))
    assert answers == [
        {"sum": number * height * width * 3, "called_with": shapes.count((height, width))}
        for number, (height, width) in enumerate(shapes)
    ]


def test_an_invalid_row_fails_alone(model):
    answers = ask(model, image(2, 3), image(2, 7), image(2, 3, 250), image(4, 4), image(2, 3))
    assert [answers[place]["sum"] for place in (0, 3, 4)] == [18, 48, 18]
    assert "must not be 7 wide" in answers[1].message and "must be dark" in answers[2].message
    assert answers[1].status == answers[2].status == 400


def test_a_call_that_returns_too_few_rows_fails_the_rows_of_its_shape(model):
    answers = ask(model, image(1, 1, 100), image(2, 3), image(1, 1, 100))
    lost = RowError("the model returned 1 rows for 2 instances", 500)
    assert answers == [lost, {"sum": 18, "called_with": 1}, lost]


def test_too_many_pixels_are_rejected(model, monkeypatch):
    monkeypatch.setattr("pipeline.serve.photo_check.MAX_PIXELS", 6)
    rows = read(model, image(2, 3).tolist())
    assert rows[0].shape == (2, 3, 3) and rows[0].dtype == np.float32
    with pytest.raises(RequestError, match=r"\[1\]: too many pixels: 7 x 1; at most 6 are") as told:
        read(model, image(2, 3).tolist(), image(1, 7).tolist())
    assert told.value.status == 400


def test_a_model_of_a_fixed_size_takes_that_size_only(old_model):
    dark, bright = (read(old_model, image(150, 150, value).tolist())[0] for value in (0, 255))
    assert [answer["label"] for answer in ask(old_model, dark, bright)] == ["cat", "dog"]
    with pytest.raises(RequestError, match=r"an array \[150, 150, 3\]; received \[150, 149, 3\]"):
        read(old_model, image(150, 149).tolist())
