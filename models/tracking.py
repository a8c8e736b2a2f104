"""Weights & Biases, as a witness that can neither stop nor slow a training.

The training writes W&B's files to disk only. With mode `online` a separate process with a deadline
uploads them after the training: a server that refuses, hangs or fails costs a warning.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
import tempfile

from models import input as examples
from models.options import Options
from models.run_id import training_run_id

_log = logging.getLogger("pawprint")
_UPLOAD_TIMEOUT = 30  # seconds
_IMAGES = 8


def start(config: Options, model_run_dir: str):
    """Starts the run, or returns None where W&B is disabled or cannot start.

    Args:
        config: all settings of the training, which the run records.
        model_run_dir: folder whose `wandb/` takes the files of the run; a temporary one takes
            them where it is remote.
    """
    options = config.wandb
    if options.mode == "disabled":
        return None
    try:
        import wandb

        remote = "://" in model_run_dir
        folder = tempfile.mkdtemp(prefix="wandb-") if remote else model_run_dir
        os.makedirs(folder, exist_ok=True)
        settings = wandb.Settings(
            console="off",
            disable_git=True,
            save_code=False,
            silent=True,
            init_timeout=30,
            x_disable_stats=True,
            x_disable_meta=True,
        )
        return wandb.init(
            project=options.project,
            entity=options.entity,
            id=training_run_id(config.store, model_run_dir),
            dir=folder,
            mode="offline",
            config=dataclasses.asdict(config),
            job_type="train",
            settings=settings,
        )
    except Exception as error:
        _log.warning("W&B is left out of this training: %s", error)
        return None


def callbacks(run) -> list:
    """The callbacks that log each epoch's metrics to the run."""
    if run is None:
        return []
    from wandb.integration.keras import WandbMetricsLogger

    class Metrics(WandbMetricsLogger):
        """W&B's own callback, whose failures end at a warning."""

        def on_epoch_end(self, epoch, logs=None):
            _guarded(super().on_epoch_end, epoch, logs)

    return [Metrics(log_freq="epoch")]


def images(run, config: Options, strategy, validation: examples.Source) -> list:
    """The callback that logs a sample of predictions each `wandb.images_every` epochs."""
    every = config.wandb.images_every
    if run is None or not every:
        return []
    import tensorflow as tf
    import tf_keras
    import wandb

    batch = min(_IMAGES, validation.count)
    source = examples.evaluation(validation, batch, 1, examples.Shard(), cache="none")
    photos, truth, _ = next(iter(source))

    def log(model, epoch):
        # In a replica's context: elsewhere reading batch statistics waits for all workers.
        predict = tf.function(lambda batch: model(tf.cast(batch, tf.float32), training=False))
        outputs = strategy.run(predict, args=(photos,))
        scores = strategy.experimental_local_results(outputs)[0].numpy()
        rows = zip(photos.numpy(), truth.numpy().argmax(1), scores, strict=True)
        captions = [
            wandb.Image(
                photo,
                caption=f"{config.labels[score.argmax()]} {score.max():.2f}, "
                f"labelled {config.labels[label]}",
            )
            for photo, label, score in rows
        ]
        run.log({"predictions": captions, "epoch/epoch": epoch})

    class Images(tf_keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if (epoch + 1) % every == 0:
                _guarded(log, self.model, epoch)

    return [Images()]


def finish(run, mode: str) -> None:
    """Ends the run; with the mode `online` uploads it, for half a minute at most."""
    if run is None:
        return
    folder = os.path.dirname(run.dir)
    _guarded(run.finish)
    if mode != "online":
        return
    command = [sys.executable, "-m", "wandb", "sync", folder]
    again = f"Upload it later by: wandb sync {folder}"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_UPLOAD_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        _log.warning("W&B did not take the run within %d s. %s", _UPLOAD_TIMEOUT, again)
        return
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        _log.warning("W&B did not take the run (%s). %s", last, again)


def _guarded(function, *arguments) -> None:
    try:
        function(*arguments)
    except Exception as error:
        _log.warning("W&B misses a part of this training: %s", error)
