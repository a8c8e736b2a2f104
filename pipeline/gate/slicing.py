"""Slices of the examples that are measured, ranges of a number among them.

TFMA slices by the values of features. A slice by ranges is asked of it as a feature whose name
carries the edges, `image_size[128,512]`: the evaluation's own config then says all there is to
know, wherever it runs, and that feature is derived from the record.
"""

import bisect
import re

import numpy as np

from pipeline.artifacts.names import IMAGE_SIZE

_SIDES = ("image_height", "image_width")
_RANGED = re.compile(r"(?P<name>.+)\[(?P<edges>[^\[\]]+)\]")


def slice_feature(name: str, edges: tuple[float, ...] | None) -> str:
    """The feature by which TFMA slices: `name`, or with edges `name[128,512]`."""
    return f"{name}[{','.join(map(_text, edges))}]" if edges else name


def feature_name(slice_feature: str) -> str:
    """The feature without its edges."""
    return _parse(slice_feature)[0]


def ranged_features(eval_config) -> list[str]:
    """The features with edges by which a config of TFMA slices."""
    keys = (key for spec in eval_config.slicing_specs for key in spec.feature_keys)
    return [key for key in keys if _RANGED.fullmatch(key)]


def range_features(features: dict, ranged: list[str]) -> dict[str, np.ndarray]:
    """The values of features with edges: names of ranges, string [batch, 1].

    Args:
        features: numbers [batch, 1] or [batch] by feature.
        ranged: features with edges, e.g. `image_size[128,512]`.
    """
    derived = {}
    for key in ranged:
        name, edges = _parse(key)
        if name == IMAGE_SIZE:
            numbers = np.maximum(*(np.asarray(features[side]).reshape(-1) for side in _SIDES))
        else:
            numbers = np.asarray(features[name]).reshape(-1)
        derived[key] = np.array([[range_name(number, edges)] for number in numbers])
    return derived


def range_name(value: float, edges: list[float]) -> str:
    """The range that a number lies in, e.g. `below 128`, `128 up to 512` or `512 and more`."""
    place = bisect.bisect_right(edges, value)
    if place == 0:
        return f"below {_text(edges[0])}"
    if place == len(edges):
        return f"{_text(edges[-1])} and more"
    return f"{_text(edges[place - 1])} up to {_text(edges[place])}"


def _text(edge: float) -> str:
    """As short as the number allows: 128, 0.5, 1700000001."""
    return f"{edge:.15g}"


def _parse(key: str) -> tuple[str, list[float]]:
    match = _RANGED.fullmatch(key)
    if not match:
        return key, []
    return match["name"], [float(edge) for edge in match["edges"].split(",")]
