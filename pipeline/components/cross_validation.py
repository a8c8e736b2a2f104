"""Component that computes the cross-validated accuracy over all photos."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx import v1 as tfx
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import artifact_utils

from models import registry
from pipeline.artifacts.digests import file_digest
from pipeline.artifacts.names import CROSS_VALIDATION_FILE, FEW_PHOTOS
from pipeline.config.gate import CROSS_VALIDATED
from pipeline.config.schema import RunConfig

_SETTINGS = ("labels", "image_size", "model", "trainer", "features_dir", "code", "provenance")


def is_enabled(config: RunConfig) -> bool:
    """Returns whether a run cross-validates.

    Only pretrained networks are cross-validated. By default they are if the test split is small or
    a bound requires it; `gate.cross_validate` overrides the default.
    """
    if not _is_pretrained(config):
        return False
    if config.gate.cross_validate is not None:
        return config.gate.cross_validate
    return _has_few_photos(config) or any(
        bound.metric == CROSS_VALIDATED for bound in config.gate.bounds
    )


def needs_test_images(config: RunConfig) -> bool:
    """Returns whether Transform prepares the test split too.

    It always does for a small test split and a pretrained network. Otherwise a change of
    `gate.cross_validate` would change Transform's settings and train the model anew.
    """
    return is_enabled(config) or (_has_few_photos(config) and _is_pretrained(config))


def _has_few_photos(config: RunConfig) -> bool:
    return sum(config.records.counts[config.records.held_out].values()) < FEW_PHOTOS


def _is_pretrained(config: RunConfig) -> bool:
    return registry.find_weights(config.model.name, config.model.arguments) is not None


def create(examples: tfx.dsl.Channel, settings: dict[str, Any]) -> BaseComponent:
    """Creates the component.

    Args:
        examples: channel of the transformed examples of all splits.
        settings: the Trainer's `custom_config`.
    """
    chosen = {name: settings[name] for name in _SETTINGS}
    # The digest of this file invalidates TFX's cache; `code` does so for models/.
    chosen["component"] = file_digest(Path(__file__))
    return CrossValidation(examples=examples, settings=json.dumps(chosen))


@tfx.dsl.components.component
def CrossValidation(
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    settings: tfx.dsl.components.Parameter[str],
    evaluation: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.ModelEvaluation],
) -> None:
    """Computes the accuracy of heads on the images that they were not trained on.

    For each of five folds, a head is trained on the features of the other folds and predicts the
    labels of this one. Heads are trained as the Trainer does, but without early stopping, because
    there are no validation images.

    Args:
        examples: transformed examples of all splits.
        settings: JSON object with the Trainer's `custom_config`.
        evaluation: receives `cross_validation.json`, with `photos`, `right`, `accuracy`, `folds`
            and `by_label` ({label: {photos, right}}).
    """
    # Imported late: Keras and the network take seconds.
    from models import autograph, cross_validation, export, extraction, files, options
    from models.distributed import devices
    from models.input import ExampleFiles

    autograph.skip_keras()
    config = options.parse(json.loads(settings))
    config = dataclasses.replace(config, trainer=devices.prepare(config.trainer))
    architecture = registry.find(config.model.name)
    with devices.precision(config.trainer):
        model = export.build(config, architecture)
    extractor = extraction.FeatureExtractor(
        model.backbone,
        tf.distribute.get_strategy(),
        folder=config.features_dir,
        limit=config.trainer.features_limit_mb << 20,
    )
    found = []
    for split in artifact_utils.decode_split_names(examples.split_names):
        uri = artifact_utils.get_split_uri([examples], split)
        source = ExampleFiles.of([f"{uri}/*"], config.image_size, len(config.labels))
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
