"""Prepares batches of examples for the Evaluator's metrics."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import unbatch_extractor
from tensorflow_model_analysis.proto import config_pb2
from tfx_bsl.tfxio import tensor_adapter

from data.record.records import IMAGE
from pipeline.artifacts.label_file import FILE, parse_labels
from pipeline.artifacts.names import BASELINE, PROBABILITIES
from pipeline.gate.slicing import bucketize, features_with_edges

_BATCH = 32

Models: TypeAlias = tfma.EvalSharedModel | list[tfma.EvalSharedModel] | None
"""TFMA's model, or the list of candidate and baseline."""


def custom_extractors(
    eval_shared_model: Models,
    eval_config: config_pb2.EvalConfig,
    tensor_adapter_config: tensor_adapter.TensorAdapterConfig | None,
) -> list[tfma.extractors.Extractor]:
    """Returns TFMA's default extractors and three more; TFX's Evaluator calls this.

    - `SplitBatches` limits the batch size so that the decoded images fit into memory. Beam's own
      batches grow to 1,000 examples.
    - `AlignBaseline` puts the baseline's probabilities in the order of the candidate's labels.
    - `DropImages` runs after the predictions. It drops the records and their images and adds the
      features with edges.

    Args:
        eval_shared_model: the candidate, or a list of candidate and baseline.
        eval_config: TFMA's config.
        tensor_adapter_config: passed to TFMA's extractors.
    """
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    stages = [extractor.stage_name for extractor in extractors]
    unbatch = stages.index(unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME)
    columns = baseline_columns(eval_shared_model)
    with_edges = features_with_edges(eval_config)
    return [
        tfma.extractors.Extractor("SplitBatches", beam.FlatMap(_split_batch)),
        *extractors[:unbatch],
        tfma.extractors.Extractor("AlignBaseline", beam.Map(align_baseline, columns)),
        tfma.extractors.Extractor("DropImages", beam.Map(drop_images, with_edges)),
        *extractors[unbatch:],
    ]


def baseline_columns(models: Models) -> list[int | None] | None:
    """Maps each label of the candidate to its index in the baseline.

    Args:
        models: see `custom_extractors`.

    Returns:
        The index of each label, None for a label that the baseline does not have. None instead of
        a list if nothing has to be aligned: no baseline, equal labels, or a model without labels.
    """
    if not isinstance(models, list):
        return None
    labels = {model.model_name == BASELINE: saved_labels(model.model_path) for model in models}
    candidate, baseline = labels[False], labels[True]
    if candidate is None or baseline is None or candidate == baseline:
        return None
    return [baseline.index(label) if label in baseline else None for label in candidate]


def align_baseline(extracts: tfma.Extracts, columns: list[int | None] | None) -> tfma.Extracts:
    """Puts the baseline's probabilities in the order of the candidate's labels.

    Label indices follow the label frequencies, so a few additional photos can swap two of them.
    Compared by index, right predictions of the baseline would count as wrong.

    Args:
        extracts: TFMA's extracts of a batch.
        columns: from `baseline_columns`. A label that the baseline does not have gets probability
            0.
    """
    if columns is None:
        return extracts
    predictions = extracts[tfma.PREDICTIONS_KEY]
    outputs = predictions[BASELINE]
    probabilities = outputs[PROBABILITIES]
    unknown = np.zeros(len(probabilities), probabilities.dtype)
    aligned = [unknown if column is None else probabilities[:, column] for column in columns]
    baseline = {**outputs, PROBABILITIES: np.stack(aligned, axis=1)}
    return {**extracts, tfma.PREDICTIONS_KEY: {**predictions, BASELINE: baseline}}


def drop_images(extracts: tfma.Extracts, with_edges: list[str]) -> tfma.Extracts:
    """Drops the records and their images, and adds the features with edges.

    Args:
        extracts: TFMA's extracts of a batch, after the predictions.
        with_edges: features to add, see `slicing.bucketize`.
    """
    features = {k: _copy(v) for k, v in extracts[tfma.FEATURES_KEY].items() if k != IMAGE}
    kept = {k: v for k, v in extracts.items() if k != tfma.INPUT_KEY}
    return {
        **kept,
        tfma.FEATURES_KEY: features | bucketize(features, with_edges),
        tfma.LABELS_KEY: _copy(extracts[tfma.LABELS_KEY]),
    }


def saved_labels(saved_model: str) -> list[str] | None:
    """Returns the label names in a SavedModel, local or on Cloud Storage; None if it has none."""
    path = f"{saved_model}/{FILE}"
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        return parse_labels(file.read().decode())


def _copy(values: Any) -> Any:
    """Copies an array, or the arrays of a dict with one entry per model.

    Arrow decodes a batch into one block of memory: a view of the labels would keep the images.
    """
    if isinstance(values, dict):
        return {model: _copy(array) for model, array in values.items()}
    return np.array(values)


def _split_batch(extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    for start in range(0, batch.num_rows, _BATCH):
        yield {**extracts, tfma.ARROW_RECORD_BATCH_KEY: batch.slice(start, _BATCH)}
