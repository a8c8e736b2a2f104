"""Cross-validated accuracy over all photos, where the test split is small."""

import dataclasses
import json
from pathlib import Path

import tensorflow as tf
from tfx import v1 as tfx
from tfx.types import artifact_utils

from models import registry
from pipeline.artifacts.digests import file_digest
from pipeline.artifacts.names import CROSS_VALIDATION_FILE, FEW_PHOTOS
from pipeline.config.gate import CROSS_VALIDATED
from pipeline.config.schema import Config

_SETTINGS = ("labels", "image_size", "model", "trainer", "features_dir", "code", "provenance")


def is_wanted(config: Config) -> bool:
    """Whether all photos are cross-validated: few test photos or a bound, and a pretrained network.

    Args:
        config: with `records` filled in.
    """
    asked = any(bound.metric == CROSS_VALIDATED for bound in config.gate.bounds)
    wanted = config.gate.cross_validate
    return (asked or _has_few(config) if wanted is None else wanted) and _is_pretrained(config)


def needs_test_images(config: Config) -> bool:
    """Whether Transform prepares the test split, too.

    Where it is small it does so in any case: a setting of the gate should not train a model anew.
    """
    return is_wanted(config) or (_has_few(config) and _is_pretrained(config))


def _has_few(config: Config) -> bool:
    return sum(config.records.counts[config.records.held_out].values()) < FEW_PHOTOS


def _is_pretrained(config: Config) -> bool:
    return registry.find_weights(config.model.name, config.model.arguments) is not None


def create(examples, settings: dict):
    """The component of a pipeline.

    Args:
        examples: channel of the transformed examples of all splits.
        settings: what the Trainer receives as `custom_config`.
    """
    chosen = {name: settings[name] for name in _SETTINGS}
    # A cached result is of the code that found it; `code` is that of models/.
    chosen["component"] = file_digest(Path(__file__))
    return CrossValidation(examples=examples, settings=json.dumps(chosen))


@tfx.dsl.components.component
def CrossValidation(
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    settings: tfx.dsl.components.Parameter[str],
    evaluation: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.ModelEvaluation],
):
    """Trains heads on the features of four fifths of the images and asks them for the others.

    Heads are trained as the Trainer trains them, but without early stopping, as they have no
    validation images.

    Args:
        examples: transformed examples of all splits.
        settings: JSON object with the Trainer's `custom_config`.
        evaluation: receives `cross_validation.json`, with `photos`, `right`, `accuracy`, `folds`
            and `by_label` ({label: {photos, right}}).
    """
    # Keras and the network take seconds to load.
    from models import autograph, cross_validation, export, extraction, files, options
    from models.distributed import devices
    from models.input import Source

    autograph.leave_keras_alone()
    config = options.parse(json.loads(settings))
    config = dataclasses.replace(config, trainer=devices.prepare(config.trainer))
    architecture = registry.find(config.model.name)
    with devices.precision(config.trainer):
        model = export.build(config, architecture)
    kept = extraction.Kept(config.features_dir, config.trainer.features_limit_mb << 20)
    extractor = extraction.Extractor(model.backbone, tf.distribute.get_strategy(), kept=kept)
    found = []
    for split in artifact_utils.decode_split_names(examples.split_names):
        uri = artifact_utils.get_split_uri([examples], split)
        source = Source.of([f"{uri}/*"], config.image_size, len(config.labels))
        views = extraction.views(config.trainer)
        found.append(extractor.features(source, views=views, name=split))
    features = cross_validation.join(found)
    predicted = cross_validation.cross_validate(model, features, config, architecture.TRAINING)
    right = predicted == features.labels
    result = {
        "photos": len(right),
        "right": int(right.sum()),
        "accuracy": float(right.mean()),
        "folds": cross_validation.FOLDS,
        "by_label": {
            label: {
                "photos": int((features.labels == index).sum()),
                "right": int(right[features.labels == index].sum()),
            }
            for index, label in enumerate(config.labels)
        },
    }
    files.write_json(f"{evaluation.uri}/{CROSS_VALIDATION_FILE}", result)
