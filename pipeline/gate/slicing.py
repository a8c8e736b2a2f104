"""Slices of the measured examples, including buckets of a numeric feature.

TFMA slices by feature values. A numeric feature is sliced through a derived feature whose name
carries the bucket edges, such as `image_size[128,512]`. The `EvalConfig` then describes the slices
completely, and any worker can derive the feature from the record.
"""

import bisect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow_model_analysis.proto import config_pb2

from data.record.records import IMAGE_HEIGHT, IMAGE_WIDTH
from pipeline.artifacts.names import IMAGE_SIZE

_SIDES = (IMAGE_HEIGHT, IMAGE_WIDTH)
_WITH_EDGES = re.compile(r"(?P<name>.+)\[(?P<edges>[^\[\]]+)\]")


def slice_feature(name: str, edges: Sequence[float] | None) -> str:
    """Returns the feature by which TFMA slices: `name`, or `name[128,512]` if there are edges."""
    return f"{name}[{','.join(map(_format_edge, edges))}]" if edges else name


def feature_name(slice_feature: str) -> str:
    """Returns the feature's name without its edges."""
    return _parse(slice_feature)[0]


def features_with_edges(eval_config: config_pb2.EvalConfig) -> list[str]:
    """Returns the features with edges by which an `EvalConfig` slices."""
    keys = (key for spec in eval_config.slicing_specs for key in spec.feature_keys)
    return [key for key in keys if _WITH_EDGES.fullmatch(key)]


def bucketize(features: Mapping[str, Any], with_edges: Sequence[str]) -> dict[str, np.ndarray]:
    """Derives the features with edges.

    Args:
        features: {feature: numbers [batch, 1] or [batch]}.
        with_edges: features with edges, such as `image_size[128,512]`.

    Returns:
        {feature with edges: bucket names, string [batch, 1]}.
    """
    derived = {}
    for key in with_edges:
        name, edges = _parse(key)
        if name == IMAGE_SIZE:
            numbers = np.maximum(*(np.asarray(features[side]).reshape(-1) for side in _SIDES))
        else:
            numbers = np.asarray(features[name]).reshape(-1)
        derived[key] = np.array([[bucket_name(number, edges)] for number in numbers])
    return derived


def bucket_name(value: float, edges: Sequence[float]) -> str:
    """Returns the name of a value's bucket.

    Example:
        >>> bucket_name(100, [128, 512]), bucket_name(128, [128, 512]), bucket_name(512, [128, 512])
        ('below 128', '128 up to 512', '512 and more')
    """
    place = bisect.bisect_right(edges, value)
    if place == 0:
        return f"below {_format_edge(edges[0])}"
    if place == len(edges):
        return f"{_format_edge(edges[-1])} and more"
    return f"{_format_edge(edges[place - 1])} up to {_format_edge(edges[place])}"


def _format_edge(edge: float) -> str:
    """Formats without trailing zeros: 128, 0.5, 1700000001."""
    return f"{edge:.15g}"


def _parse(key: str) -> tuple[str, list[float]]:
    match = _WITH_EDGES.fullmatch(key)
    if not match:
        return key, []
    return match["name"], [float(edge) for edge in match["edges"].split(",")]
