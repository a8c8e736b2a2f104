"""Excludes Keras from AutoGraph."""

from __future__ import annotations


def skip_keras() -> None:
    """Excludes `tf_keras` from AutoGraph's conversion; call before a model is traced.

    AutoGraph skips the libraries on a list, on which Keras stands as `keras` only. Converting
    `tf_keras` takes about 15 s of processor time and changes nothing. Layers outside `tf_keras` are
    converted as usual. Calling it again is a no-op.
    """
    # The list has no public interface.
    from tensorflow.python.autograph.core import config, config_lib

    rule = config_lib.DoNotConvert("tf_keras")
    if str(rule) not in map(str, config.CONVERSION_RULES):
        config.CONVERSION_RULES = (rule, *config.CONVERSION_RULES)
