"""Cross-validated accuracy over all photos, where the test split is small."""

import json

import tensorflow as tf
from tfx import v1 as tfx
from tfx.types import artifact_utils

from models import registry
from pipeline.config import Config
from pipeline.gate.names import CROSS_VALIDATION_FILE
from pipeline.gate.options import CROSS_VALIDATED

FEW = 100
"""Test photos below which all photos are cross-validated."""
_SETTINGS = ("labels", "image_size", "model", "trainer", "features_dir", "code")


def is_wanted(config: Config) -> bool:
    """Whether all photos are cross-validated: few test photos or a bound, and a pretrained network.

    Args:
      config: with `records` filled in.
    """
    held_out = sum(config.records.counts[config.records.held_out].values())
    asked = any(bound.metric == CROSS_VALIDATED for bound in config.gate.bounds)
    wanted = config.gate.cross_validate
    if not (asked or held_out < FEW if wanted is None else wanted):
        return False
    return registry.find_weights(config.model.name, config.model.arguments) is not None


def create(examples, settings: dict):
    """The component of a pipeline.

    Args:
      examples: channel of the transformed examples of all splits.
      settings: what the Trainer receives as `custom_config`.
    """
    return CrossValidation(
        examples=examples, settings=json.dumps({name: settings[name] for name in _SETTINGS})
    )


@tfx.dsl.components.component
def CrossValidation(
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    settings: tfx.dsl.components.Parameter[str],
    evaluation: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.ModelEvaluation],
):
    """Trains heads on the features of four fifths of the photos and asks them for the others.

    Args:
      examples: transformed examples of all splits.
      settings: JSON object with the Trainer's `custom_config`.
      evaluation: receives `cross_validation.json`, with `photos`, `right`, `accuracy`, `folds`
        and `by_label` ({label: {photos, right}}).
    """
    # Keras and the network take seconds to load.
    from models import autograph, cross_validation, export, extraction, files, options
    from models.input import Source

    autograph.leave_keras_alone()
    config = options.parse(json.loads(settings))
    architecture = registry.find(config.model.name)
    model = export.build(config, architecture)
    kept = extraction.Kept(config.features_dir, config.trainer.features_limit_mb << 20)
    extractor = extraction.Extractor(model.backbone, tf.distribute.get_strategy(), kept=kept)
    found = []
    for split in artifact_utils.decode_split_names(examples.split_names):
        uri = artifact_utils.get_split_uri([examples], split)
        source = Source.of([f"{uri}/*"], config.image_size, len(config.labels))
        found.append(extractor.features(source, name=split))
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
