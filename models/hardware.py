"""Settings of the accelerators, applied before the strategy takes them."""

from __future__ import annotations

import dataclasses
import logging

from models.options import TrainerOptions

_log = logging.getLogger("pawprint")
_FULL, _MIXED = "float32", "mixed_float16"


def prepare(options: TrainerOptions) -> TrainerOptions:
    """Applies memory growth and precision; call before the strategy is made.

    Returns:
        The options as they can be had: without GPUs mixed precision and XLA are off, each said in
        one line of the `pawprint` logger.
    """
    import tensorflow as tf
    import tf_keras

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, options.memory_growth)
    else:
        for name in ("mixed_precision", "xla"):
            if getattr(options, name):
                _log.warning("trainer.%s is off: there is no GPU here.", name)
                options = dataclasses.replace(options, **{name: False})
    tf_keras.mixed_precision.set_global_policy(_MIXED if options.mixed_precision else _FULL)
    return options


def full_precision() -> None:
    """Makes the layers built from here on compute in float32, as an exported model must."""
    import tf_keras

    tf_keras.mixed_precision.set_global_policy(_FULL)
