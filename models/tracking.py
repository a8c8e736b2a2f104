"""Weights & Biases, as a witness that can neither stop nor slow a training."""

from __future__ import annotations

import hashlib
import logging
import os
from typing import Any

from models.options import Options, WandbOptions

_log = logging.getLogger("pawprint")


def run_id(options: Options, model_run_dir: str) -> str:
    """The id of a training's W&B run: the given one, or one that a restarted worker finds again."""
    return options.run_id or hashlib.sha256(model_run_dir.encode()).hexdigest()[:16]


def start(options: WandbOptions, identity: str, folder: str, config: dict[str, Any]):
    """Starts the run, or returns None where W&B is disabled or cannot start.

    Args:
        options: mode and project.
        identity: id of the run.
        folder: local folder that W&B writes under.
        config: what to record about the training.
    """
    if options.mode == "disabled":
        return None
    try:
        import wandb

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
            id=identity,
            resume="allow",
            dir=folder,
            mode=options.mode,
            config=config,
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

    return [WandbMetricsLogger(log_freq="epoch")]


def finish(run) -> None:
    """Ends the run."""
    if run is not None:
        run.finish()
