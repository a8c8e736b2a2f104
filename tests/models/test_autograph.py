"""AutoGraph skips Keras and converts other layers."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras

from models import autograph


class Sign(tf_keras.layers.Layer):
    """Asks a tensor in Python, which only a rewritten layer can."""

    def call(self, inputs):
        if tf.reduce_sum(inputs) > 0:
            return inputs
        return -inputs


def test_keras_is_not_converted_and_other_layers_are():
    from tensorflow.python.autograph.core import config
    from tensorflow.python.autograph.impl import conversion

    autograph.skip_keras()
    rules = config.CONVERSION_RULES
    autograph.skip_keras()
    assert config.CONVERSION_RULES is rules
    assert conversion.is_allowlisted(tf_keras.Model.train_step)
    assert not conversion.is_allowlisted(Sign.call)
    model = tf_keras.Sequential([Sign(), tf_keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse", steps_per_execution=2)
    ones = np.ones([4, 2], np.float32)
    model.fit(-ones, ones[:, :1], batch_size=2, verbose=0)
    np.testing.assert_allclose(
        model.predict(-ones[:1], verbose=0), model.predict(ones[:1], verbose=0)
    )
