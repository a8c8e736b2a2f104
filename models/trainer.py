"""TFX's Trainer: trains the configured model on transformed examples and exports it."""

from __future__ import annotations

import dataclasses
import logging
import os
from typing import TYPE_CHECKING

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

    Writes the SavedModel with its `model_card.json` to `serving_model_dir`; TensorBoard logs and
    `history.json` to `model_run_dir`. Only the chief writes; the other workers return when its
    model is there. A training that was killed goes on after its last whole epoch when it is
    started again with the same settings and data.

    Raises:
        ValueError: invalid settings, or no examples; before training starts.
        RuntimeError: another process of the cluster was lost.
    """
    config = options.parse(fn_args.custom_config)
    architecture = registry.find(config.model.name)
    task = cluster.read()
    if not task.trains:
        logging.getLogger("pawprint").info("Task '%s' takes no part in training.", task.kind)
        return

    from models import hardware

    config = dataclasses.replace(config, trainer=hardware.prepare(config.trainer))
    strategy = cluster.create_strategy(config.trainer, task)

    from models import fitting

    fitting.fit_and_export(fn_args, config, architecture, task, strategy)
