"""What the Evaluator makes of a batch of examples before it is measured."""

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import unbatch_extractor

from pipeline.artifacts.label_file import FILE, parse_labels
from pipeline.artifacts.names import BASELINE, PROBABILITIES
from pipeline.gate.slicing import range_features, ranged_features

_BATCH = 32
_PIXELS = "image"


def custom_extractors(eval_shared_model, eval_config, tensor_adapter_config):
    """TFMA's default extractors and three of our own; the Evaluator component calls this.

    Batches are cut to a size whose decoded images fit into memory (Beam grows them to 1,000). The
    baseline's probabilities are put into the order of the candidate's labels. Once the models have
    predicted, the pixels are let go, and slices by range get their features.

    Args:
        eval_shared_model: TFMA's model, or a list of candidate and baseline.
        eval_config: TFMA's config.
        tensor_adapter_config: for TFMA's own extractors.
    """
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    stages = [extractor.stage_name for extractor in extractors]
    place = stages.index(unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME)
    columns = baseline_columns(eval_shared_model)
    ranged = ranged_features(eval_config)
    return [
        tfma.extractors.Extractor("CutBatches", beam.FlatMap(_cut)),
        *extractors[:place],
        tfma.extractors.Extractor("AlignBaseline", beam.Map(align_baseline, columns)),
        tfma.extractors.Extractor("KeepWhatIsMeasured", beam.Map(keep_what_is_measured, ranged)),
        *extractors[place:],
    ]


def baseline_columns(models) -> list[int | None] | None:
    """Of each label of the candidate its number at the baseline, None for one it does not know.

    Args:
        models: as `custom_extractors` gets them.

    Returns:
        None where there is nothing to put right: no baseline, the same labels in the same order, or
        a model that carries no labels.
    """
    if not isinstance(models, list):
        return None
    labels = {model.model_name == BASELINE: saved_labels(model.model_path) for model in models}
    candidate, baseline = labels[False], labels[True]
    if candidate is None or baseline is None or candidate == baseline:
        return None
    return [baseline.index(label) if label in baseline else None for label in candidate]


def align_baseline(extracts, columns: list[int | None] | None):
    """Puts the baseline's probabilities into the order of the candidate's labels.

    Labels are numbered by their frequency, so a few photos more may swap two numbers; compared by
    number, the baseline would be measured as wrong where it is right.

    Args:
        extracts: TFMA's extracts of a batch.
        columns: from `baseline_columns`. A label that the baseline does not know has probability 0.
    """
    if columns is None:
        return extracts
    predictions = extracts[tfma.PREDICTIONS_KEY]
    outputs = predictions[BASELINE]
    theirs = outputs[PROBABILITIES]
    unknown = np.zeros(len(theirs), theirs.dtype)
    ours = [unknown if column is None else theirs[:, column] for column in columns]
    aligned = {**outputs, PROBABILITIES: np.stack(ours, axis=1)}
    return {**extracts, tfma.PREDICTIONS_KEY: {**predictions, BASELINE: aligned}}


def keep_what_is_measured(extracts, ranged: list[str]):
    """Lets go of the records and pixels, which the models have read, and adds slices' features.

    Args:
        extracts: TFMA's extracts of a batch.
        ranged: features to add, see `slicing.range_features`.
    """
    features = {k: _own(v) for k, v in extracts[tfma.FEATURES_KEY].items() if k != _PIXELS}
    kept = {k: v for k, v in extracts.items() if k != tfma.INPUT_KEY}
    return {
        **kept,
        tfma.FEATURES_KEY: features | range_features(features, ranged),
        tfma.LABELS_KEY: _own(extracts[tfma.LABELS_KEY]),
    }


def saved_labels(saved_model: str) -> list[str] | None:
    """Label names that a SavedModel, here or on Cloud Storage, carries; None where it has none."""
    path = f"{saved_model}/{FILE}"
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        return parse_labels(file.read().decode())


def _own(values):
    """A copy, of each model's where there are two.

    What Arrow decoded is one piece of memory, and a view of its labels, which metrics keep, would
    keep the pixels too.
    """
    if isinstance(values, dict):
        return {model: _own(its) for model, its in values.items()}
    return np.array(values)


def _cut(extracts):
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    for start in range(0, batch.num_rows, _BATCH):
        yield {**extracts, tfma.ARROW_RECORD_BATCH_KEY: batch.slice(start, _BATCH)}
