"""Slices of the examples that are measured, ranges of a number among them.

TFMA slices by the values of features. A slice by ranges is asked of it as a feature whose name
carries the edges, `image_size[128,512]`: the evaluation's own config then says all there is to
know, wherever it runs, and the extractor below derives that feature from the record.
"""

import bisect
import re

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import unbatch_extractor

from pipeline.gate.names import IMAGE_SIZE

_BATCH = 32
_PIXELS = "image"
_SIDES = ("image_height", "image_width")
# What the models have read and nothing measures.
_SPENT = (tfma.INPUT_KEY,)
_RANGED = re.compile(r"(?P<name>.+)\[(?P<edges>[^\[\]]+)\]")


def slice_feature(name: str, edges: tuple[float, ...] | None) -> str:
    """The feature by which TFMA slices: `name`, or with edges `name[128,512]`."""
    return f"{name}[{','.join(f'{edge:g}' for edge in edges)}]" if edges else name


def feature_name(slice_feature: str) -> str:
    """The feature without its edges."""
    return _parse(slice_feature)[0]


def range_name(value: float, edges: list[float]) -> str:
    """The range that a number lies in, e.g. `below 128`, `128 up to 512` or `512 and more`."""
    place = bisect.bisect_right(edges, value)
    if place == 0:
        return f"below {edges[0]:g}"
    if place == len(edges):
        return f"{edges[-1]:g} and more"
    return f"{edges[place - 1]:g} up to {edges[place]:g}"


def custom_extractors(eval_shared_model, eval_config, tensor_adapter_config):
    """TFMA's default extractors with slices by range; called by the Evaluator component.

    A batch is cut to a size whose decoded images fit into memory (Beam grows batches to 1,000), and
    the pixels are let go once the models have predicted.
    """
    ranged = [
        key
        for spec in eval_config.slicing_specs
        for key in spec.feature_keys
        if _RANGED.fullmatch(key)
    ]
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    stages = [extractor.stage_name for extractor in extractors]
    place = stages.index(unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME)
    return [
        tfma.extractors.Extractor("CutBatches", beam.FlatMap(_cut)),
        *extractors[:place],
        tfma.extractors.Extractor("DeriveSlices", beam.Map(_derive, ranged)),
        *extractors[place:],
    ]


def _cut(extracts):
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    for start in range(0, batch.num_rows, _BATCH):
        yield {**extracts, tfma.ARROW_RECORD_BATCH_KEY: batch.slice(start, _BATCH)}


def _derive(extracts, ranged: list[str]):
    features = {k: _own(v) for k, v in extracts[tfma.FEATURES_KEY].items() if k != _PIXELS}
    for key in ranged:
        name, edges = _parse(key)
        if name == IMAGE_SIZE:
            values = np.maximum(*(np.asarray(features[side]).reshape(-1) for side in _SIDES))
        else:
            values = np.asarray(features[name]).reshape(-1)
        features[key] = np.array([[range_name(value, edges)] for value in values])
    kept = {k: v for k, v in extracts.items() if k not in _SPENT}
    return {
        **kept,
        tfma.FEATURES_KEY: features,
        tfma.LABELS_KEY: _own(extracts[tfma.LABELS_KEY]),
    }


def _own(values):
    """A copy, of each model's where there are two.

    What Arrow decoded is one piece of memory, and a view of its labels, which metrics keep, would
    keep the pixels too.
    """
    if isinstance(values, dict):
        return {model: _own(its) for model, its in values.items()}
    return np.array(values)


def _parse(key: str) -> tuple[str, list[float]]:
    match = _RANGED.fullmatch(key)
    if not match:
        return key, []
    return match["name"], [float(edge) for edge in match["edges"].split(",")]
