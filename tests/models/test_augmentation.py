"""Training images vary, served ones never do."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from models.augmentation import Augment


def images(count=8, size=24):
    random = np.random.default_rng(0)
    return tf.constant(random.integers(0, 256, (count, size, size, 3)), tf.float32)


def test_nothing_happens_outside_training():
    batch = images()
    np.testing.assert_array_equal(Augment()(batch, training=False), batch)


def test_each_image_changes_in_its_own_way_within_range():
    one = tf.repeat(images(1), 8, axis=0)
    changed = Augment()(one, training=True).numpy()
    assert changed.shape == one.shape
    assert changed.min() >= 0 and changed.max() <= 255
    assert len({image.tobytes() for image in changed}) == 8


def test_without_limits_only_the_mirror_image_is_left():
    batch = images(32)
    layer = Augment(rotation=0, zoom=0, shift=0, light=0, flip=True)
    changed = layer(batch, training=True).numpy()
    mirrored = 0
    for before, after in zip(batch.numpy(), changed, strict=True):
        same, turned = (np.allclose(after, x, atol=0.1) for x in (before, before[:, ::-1]))
        assert same or turned
        mirrored += turned
    assert 4 < mirrored < 28


def test_a_shift_moves_the_picture():
    dot = np.zeros((64, 25, 25, 3), np.float32)
    dot[:, 12, 12] = 255
    layer = Augment(rotation=0, zoom=0, shift=0.2, light=0, flip=False)
    heat = layer(tf.constant(dot), training=True).numpy()[..., 0]
    rows = [np.unravel_index(image.argmax(), image.shape)[0] for image in heat]
    assert min(rows) < 12 < max(rows)
    assert max(abs(row - 12) for row in rows) <= 5
