"""What a pipeline makes in Google Cloud: its folder in the bucket, its labels, its time limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config.schema import Config

_HOUR_S = 3600


def home(config: Config) -> str:
    """The folder of the pipeline, `gs://BUCKET/[PREFIX/]NAME`."""
    return f"{config.cloud.address}/{config.name}"


def labels(config: Config) -> dict[str, str]:
    """Labels of every job, model, endpoint and run."""
    return {"application": "pawprint", "pipeline": config.name[:63]} | config.cloud.labels


def seconds(hours: float) -> int:
    """A time limit in whole seconds."""
    return math.ceil(hours * _HOUR_S)
