"""From trained weights to the Model artifact: the SavedModel and its card."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow_transform as tft
import tf_keras

from models import files, model_card, signatures
from models.options import Options

if TYPE_CHECKING:
    from tfx.components import FnArgs


def build(config: Options, architecture: ModuleType) -> tf_keras.Model:
    """Builds the configured architecture.

    Raises:
        ValueError: an argument that the architecture does not take.
    """
    try:
        return architecture.build(config.image_size, len(config.labels), **config.model.arguments)
    except TypeError as error:
        raise ValueError(f"The model '{config.model.name}' cannot be built: {error}.") from error


def save(
    fn_args: FnArgs,
    config: Options,
    architecture: ModuleType,
    weights: Sequence[np.ndarray],
    epochs: int,
    exported: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """Writes the SavedModel to `fn_args.serving_model_dir` and `model_card.json` beside it.

    Args:
        fn_args: TFX's arguments.
        config: all settings.
        architecture: the model's module.
        weights: the trained model's, from `get_weights`.
        epochs: number of epochs of the training.
        exported: the row in its history of the epoch whose weights these are.
        settings: those of the training, defaults filled in, for the card.
    """
    # A copy outside the strategy, in full precision, serves anywhere.
    model = build(config, architecture)
    model.set_weights(weights)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    path = fn_args.serving_model_dir.rstrip("/")
    card = model_card.write_up(
        config, architecture, model.count_params(), epochs, exported, settings
    )
    files.write_json(f"{path.rpartition('/')[0]}/{model_card.FILE}", card)
    signatures.Classifier(model, transform_output, config.labels, config.image_size).save(path)
