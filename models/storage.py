"""Where a training keeps what it needs between epochs and between attempts."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile

from models import features
from models.options import Options

_log = logging.getLogger("pawprint")
_SHARE = 0.5  # of the free memory or disk that cached examples may take


def choose_cache(wanted: str, examples: int, image_size: int) -> str:
    """`memory`, `none`, or the path of a file for the decompressed examples of one worker.

    Args:
        wanted: `trainer.cache`; `auto` takes memory where they fit into half of what is free,
            else a temporary file where the disk has room, else nothing.
        examples: number of examples that the worker keeps.
        image_size: side of the images in pixels.
    """
    size = examples * features.image_bytes(image_size)
    if wanted == "auto":
        room = shutil.disk_usage(tempfile.gettempdir()).free
        fits = {"memory": size < _SHARE * free_memory(), "file": size < _SHARE * room}
        wanted = next((kind for kind, fit in fits.items() if fit), "none")
        _log.debug("%d examples of %d bytes together are cached in: %s", examples, size, wanted)
    if wanted != "file":
        return wanted
    return os.path.join(tempfile.mkdtemp(prefix="examples-"), "cache")


def drop_cache(cache: str) -> None:
    """Removes the file that `choose_cache` named, if it named one."""
    if cache not in ("memory", "none"):
        shutil.rmtree(os.path.dirname(cache), ignore_errors=True)


def free_memory() -> int:
    """Bytes of memory that can be had without swapping, by the kernel's own estimate."""
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def checkpoint_dir(config: Options, fn_args) -> str:
    """The folder of a training's checkpoints: the given one, or the same for equal trainings.

    TFX gives every attempt another `model_run_dir`, so what tells trainings apart is their
    settings and data, not their folder. The run id and the provenance change nothing about the
    weights and do not count.
    """
    if config.checkpoint_dir:
        return config.checkpoint_dir
    identity = {
        "labels": config.labels,
        "image_size": config.image_size,
        "trainer": vars(config.trainer),
        "model": vars(config.model),
        "data": [list(fn_args.train_files), list(fn_args.eval_files), fn_args.transform_output],
        "steps": [fn_args.train_steps, fn_args.eval_steps],
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=dict).encode())
    parent = os.path.dirname(fn_args.model_run_dir.rstrip("/"))
    return os.path.join(parent, f"checkpoints-{digest.hexdigest()[:16]}")
