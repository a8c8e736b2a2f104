"""Folder, labels and time limits of what a pipeline creates in Google Cloud."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pipeline.cloud.errors import CloudError

if TYPE_CHECKING:
    from pipeline.config.cloud import CloudConfig
    from pipeline.config.schema import Config

_HOUR_S = 3600


def cloud_section(config: Config) -> CloudConfig:
    """The config's section `cloud`.

    Raises:
        CloudError: the config has none.
    """
    if config.cloud is None:
        raise CloudError("cloud is not set: start from conf/production.yaml")
    return config.cloud


def home(config: Config) -> str:
    """The pipeline's folder in the bucket, `gs://BUCKET/NAME`."""
    return f"{cloud_section(config).address}/{config.name}"


def labels(config: Config) -> dict[str, str]:
    """Labels of every job, model, endpoint and run."""
    common = {"application": "pawprint", "pipeline": config.name[:63]}
    return common | cloud_section(config).labels


def seconds(hours: float) -> int:
    """A time limit in whole seconds, rounded up."""
    return math.ceil(hours * _HOUR_S)
