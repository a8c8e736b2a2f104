"""TFX's Trainer: trains the configured model on transformed examples and exports it."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

# Named before TensorFlow: TFX may have imported Keras 3 already, which cannot train under
# MultiWorkerMirroredStrategy, so every use below is of tf_keras by its own name.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

from models import cluster, options, registry

if TYPE_CHECKING:
    from tfx.components import FnArgs


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports; called by TFX in every process of the training cluster.

    Reads from `fn_args`: `train_files`, `eval_files`, `transform_output`, `custom_config` (see
    `models.options.Options`), `train_steps` (steps an epoch) and `eval_steps` (0 or None: all
    examples), `serving_model_dir`, `model_run_dir`.

    Writes the SavedModel to `serving_model_dir`; TensorBoard logs and `history.json` to
    `model_run_dir`.

    Raises:
        ValueError: invalid settings, or no examples; before training starts.
    """
    config = options.parse(fn_args.custom_config)
    architecture = registry.find(config.model.name)
    task = cluster.read()
    strategy = cluster.create_strategy(config.trainer)

    from models import fitting

    fitting.fit_and_export(fn_args, config, architecture, task, strategy)


def settings(config: options.Options) -> dict[str, Any]:
    """The settings of a training as plain values, for records about it."""
    plain = dataclasses.asdict(config)
    return {key: plain[key] for key in ("labels", "image_size", "trainer", "model")}
