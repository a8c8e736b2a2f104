"""Training images vary, served ones never do."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras

from models.augmentation import Augment, warp


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


def test_the_geometry_is_that_of_tensorflows_own_operation():
    random = np.random.default_rng(1)
    batch = tf.constant(random.uniform(0, 255, (16, 20, 30, 3)), tf.float32)
    turns = random.uniform(-1, 1, (16, 2, 2)) + np.eye(2)
    shifts = random.uniform(-15, 15, (16, 2, 1))
    transforms = tf.constant(np.concatenate([turns, shifts], 2).reshape(16, 6), tf.float32)
    theirs = tf.raw_ops.ImageProjectiveTransformV3(
        images=batch,
        transforms=tf.pad(transforms, [[0, 0], [0, 2]]),
        output_shape=[20, 30],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    ).numpy()
    ours = warp(batch, transforms).numpy()
    x, y = np.meshgrid(np.arange(30), np.arange(20))
    points = np.einsum("bij,jhw->bihw", turns, np.stack([x, y])) + shifts[..., None]
    # Beyond one mirror image of the picture theirs goes on mirroring, ours stays at the edge.
    near = (np.abs(points - [[[[15]], [[10]]]]) < [[[[44]], [[29]]]]).all(1)
    assert 0.5 < near.mean() < 1
    np.testing.assert_allclose(ours[near], theirs[near], atol=0.05)


def test_a_bright_image_survives_mixed_precision():
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        layer = Augment(rotation=0, zoom=0, shift=0, light=0.01, flip=False)
        changed = layer(tf.fill([1, 150, 150, 3], tf.constant(200, tf.float16)), training=True)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    np.testing.assert_allclose(changed, 200, atol=5)
