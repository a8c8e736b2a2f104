"""Keeps TensorFlow from rewriting Keras before every training."""

from __future__ import annotations


def leave_keras_alone() -> None:
    """Has AutoGraph take `tf_keras` as it is: call before a model is traced, once or more.

    AutoGraph rewrites the Python that a graph is made from, but for a list of libraries that need
    no such thing. Keras is on it by its name `keras` only, so that tracing a training rewrites all
    of `tf_keras`: for some 15 s of processor time, to no effect. Layers of one's own are rewritten
    as ever.
    """
    # There is no public way to add to the list.
    from tensorflow.python.autograph.core import config, config_lib

    rule = config_lib.DoNotConvert("tf_keras")
    if str(rule) not in map(str, config.CONVERSION_RULES):
        config.CONVERSION_RULES = (rule, *config.CONVERSION_RULES)
