"""TFX's Trainer: trains the configured model on transformed examples and exports it."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from typing import TYPE_CHECKING

# Named before TensorFlow: TFX may have imported Keras 3 already, which cannot train under
# MultiWorkerMirroredStrategy, so every use below is of tf_keras by its own name.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

from models import options, registry
from models.distributed import cluster

if TYPE_CHECKING:
    from tfx.components import FnArgs

_log = logging.getLogger("pawprint")
_POLL_SECONDS = 5
_EVALUATOR_SECONDS = 7 * 24 * 3600  # For as long as Vertex AI lets a job run.


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports; called by TFX in every process of the training cluster.

    Reads from `fn_args`: `train_files`, `eval_files`, `transform_output`, `custom_config` (see
    `models.options.Options`), `train_steps` (steps an epoch) and `eval_steps` (0 or None: all
    examples), `serving_model_dir`, `model_run_dir`.

    The chief writes the SavedModel to `serving_model_dir` with `model_card.json` beside it, and
    TensorBoard logs, `history.json` and W&B's files to `model_run_dir`. A training that was killed
    goes on after its last epoch, from `checkpoint_dir`. Returns in every process once the model
    is written.

    Raises:
        ValueError: invalid settings, or too few examples; before training starts.
        RuntimeError: the machine was ordered with GPUs and none is seen; before training starts.
        ClusterError: a process of the cluster did not come, or was lost.
        TimeoutError: in an evaluator, no model came within a week.
    """
    config = options.parse(fn_args.custom_config)
    architecture = registry.find(config.model.name)
    task = cluster.read()
    if not task.trains:
        _wait_for_model(fn_args.serving_model_dir)
        return

    # TensorFlow from here on.
    from models import autograph, session
    from models.distributed import devices

    autograph.leave_keras_alone()
    # One machine alone is the chief, whatever TF_CONFIG calls it.
    ordered = config.gpus.get(task.kind if task.addresses else "chief", 0)
    config = dataclasses.replace(config, trainer=devices.prepare(config.trainer, ordered))
    with cluster.losses_explained(task):
        strategy = cluster.create_strategy(task, config.trainer)
        session.train_and_export(fn_args, config, architecture, task, strategy)


def _wait_for_model(path: str) -> None:
    """An evaluator's part: validation is the workers' own work, but TFX wants the model here."""
    import tensorflow as tf

    _log.info("this process is an evaluator, which has no part in the training: waiting for it")
    last_file = f"{path.rstrip('/')}/saved_model.pb"
    deadline = time.monotonic() + _EVALUATOR_SECONDS
    while not tf.io.gfile.exists(last_file):
        if time.monotonic() > deadline:
            raise TimeoutError(f"No model at {path} after {_EVALUATOR_SECONDS / 3600:.0f} hours.")
        time.sleep(_POLL_SECONDS)
