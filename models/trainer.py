"""The module of TFX's Trainer: `run_fn` trains a model on transformed examples and exports it."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from typing import TYPE_CHECKING

# Before TensorFlow is imported. TFX may have imported Keras 3 already, which cannot train under
# MultiWorkerMirroredStrategy, so this package imports tf_keras by name.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

from models import options, registry
from models.distributed import cluster

if TYPE_CHECKING:
    from tfx.components import FnArgs

_log = logging.getLogger("pawprint")
_POLL_SECONDS = 5
_EVALUATOR_SECONDS = 7 * 24 * 3600  # Vertex AI's limit for a job.


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports a model; TFX calls it in every process of the training cluster.

    The chief writes the SavedModel to `serving_model_dir` and `model_card.json` next to it;
    TensorBoard logs, `history.json` and the W&B run go to `model_run_dir`. A training that was
    killed resumes from `checkpoint_dir` after its last complete epoch. All processes return after
    the model is written.

    Args:
        fn_args: reads `train_files`, `eval_files`, `transform_output`, `custom_config` (see
            `models.options.Options`), `train_steps` (steps per epoch) and `eval_steps` (0 or None
            takes all examples), `serving_model_dir` and `model_run_dir`.

    Raises:
        ValueError: A setting is invalid, or there are too few examples. Raised before training.
        RuntimeError: GPUs were requested and TensorFlow sees none. Raised before training.
        ClusterError: A process of the cluster did not connect or was lost.
        TimeoutError: In an evaluator: no model was written within a week.

    Example:

    ```python
    from tfx import v1 as tfx

    trainer = tfx.components.Trainer(
        run_fn="models.trainer.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        custom_config={"labels": ["cat", "dog"], "image_size": 224},
    )
    ```
    """
    config = options.parse(fn_args.custom_config)
    architecture = registry.find(config.model.name)
    task = cluster.read_task()
    if not task.trains:
        _wait_for_model(fn_args.serving_model_dir)
        return

    # These import TensorFlow.
    from models import autograph, session
    from models.distributed import devices

    autograph.skip_keras()
    # A single machine has the chief's GPUs, whatever its task in TF_CONFIG.
    requested = config.gpus.get(task.kind if task.addresses else "chief", 0)
    config = dataclasses.replace(config, trainer=devices.prepare(config.trainer, requested))
    with cluster.translate_errors(task):
        strategy = cluster.create_strategy(task, config.trainer)
        session.train_and_export(fn_args, config, architecture, task, strategy)


def _wait_for_model(path: str) -> None:
    """Waits in an evaluator for the model, which TFX expects after `run_fn` in every process."""
    import tensorflow as tf

    _log.info("this process is an evaluator and does not train: waiting for the model")
    last_file = f"{path.rstrip('/')}/saved_model.pb"
    deadline = time.monotonic() + _EVALUATOR_SECONDS
    while not tf.io.gfile.exists(last_file):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"No model at {path} after {_EVALUATOR_SECONDS / 3600:.0f} hours. Check the logs "
                "of the chief and the workers."
            )
        time.sleep(_POLL_SECONDS)
