"""What the GPUs are asked for, and what is left out where there are none."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator

import tensorflow as tf
import tf_keras

from models.options import TrainerOptions

_log = logging.getLogger("pawprint")


def prepare(options: TrainerOptions, ordered: int = 0) -> TrainerOptions:
    """Sets GPUs up; returns the options that hold here. Call before the strategy is created.

    Without a GPU, `mixed_precision` and `xla` are turned off and NCCL gives way to `auto`, with
    one line that says so.

    Args:
        options: the user's settings.
        ordered: GPUs that this machine was ordered with.

    Raises:
        RuntimeError: some were ordered and TensorFlow sees none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if ordered and not gpus:
        gpu = "GPU" if ordered == 1 else "GPUs"
        raise RuntimeError(
            f"This training was given {ordered} {gpu} a machine and TensorFlow sees none: it would "
            "train on the CPU at the price of the GPUs. Check the driver and the training image "
            "(cloud.training_image), or order a machine without accelerators (cloud.training)."
        )
    if gpus:
        try:
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, options.memory_growth)
        except RuntimeError:  # An earlier component of the same process uses the GPU already.
            _log.info("GPU memory growth stays as it is: the GPUs are in use in this process")
        return options
    wanted = {"mixed_precision": False, "xla": False}
    if options.collective == "nccl":
        wanted["collective"] = "auto"
    off = {name: value for name, value in wanted.items() if getattr(options, name)}
    if off:
        _log.info("no GPU here: %s left out of this training", ", ".join(sorted(off)))
    return dataclasses.replace(options, **off)


@contextlib.contextmanager
def precision(options: TrainerOptions) -> Iterator[None]:
    """Builds models in float16 with float32 weights inside, where the options ask for it."""
    if not options.mixed_precision:
        yield
        return
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
