"""Configures GPUs, and turns GPU settings off on machines without one."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tf_keras

from models.options import TrainerOptions

_log = logging.getLogger("pawprint")


def prepare(options: TrainerOptions, requested: int = 0) -> TrainerOptions:
    """Configures the GPUs of this machine; call before the strategy is created.

    Without a GPU, `mixed_precision` and `xla` are turned off and the collective `nccl` becomes
    `auto`. One log line names the settings that changed.

    Args:
        options: the user's settings.
        requested: number of GPUs requested for this machine.

    Returns:
        The settings for this machine.

    Raises:
        RuntimeError: GPUs were requested and TensorFlow sees none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if requested and not gpus:
        gpu = "GPU" if requested == 1 else "GPUs"
        raise RuntimeError(
            f"This training requested {requested} {gpu} per machine, but TensorFlow sees none: it "
            "would train on the CPU at the price of the GPUs. Check the driver and the training "
            "image (cloud.training_image), or request a machine without accelerators "
            "(cloud.training)."
        )
    if gpus:
        try:
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, options.memory_growth)
        except RuntimeError:  # An earlier component of this process already uses the GPU.
            _log.info("trainer.memory_growth is ignored: this process already uses the GPUs")
        return options
    without_gpu: dict[str, Any] = {"mixed_precision": False, "xla": False}
    if options.collective == "nccl":
        without_gpu["collective"] = "auto"
    changed = {name: value for name, value in without_gpu.items() if getattr(options, name)}
    if changed:
        _log.info("no GPU found: %s ignored", ", ".join(sorted(changed)))
    return dataclasses.replace(options, **changed)


@contextlib.contextmanager
def precision(options: TrainerOptions) -> Iterator[None]:
    """Sets Keras' mixed-precision policy in its body, if the options ask for it."""
    if not options.mixed_precision:
        yield
        return
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
