"""Builds models, and exports trained weights as SavedModel and model card."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import tensorflow_transform as tft
import tf_keras
from numpy.typing import NDArray

from models import files, model_card, signatures
from models.options import Options

if TYPE_CHECKING:
    from tfx.components import FnArgs


def build(config: Options, architecture: ModuleType) -> tf_keras.Model:
    """Builds the configured architecture.

    Raises:
        ValueError: The architecture's `build` does not take an argument of the config.
    """
    size, classes = config.image_size, len(config.labels)
    try:
        return architecture.build(size, classes, **config.model.arguments)
    except TypeError as error:
        raise ValueError(f"The model '{config.model.name}' cannot be built: {error}.") from error


def save(
    fn_args: FnArgs,
    config: Options,
    architecture: ModuleType,
    weights: Sequence[NDArray[Any]],
    epochs: int,
    exported: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """Writes the SavedModel to `fn_args.serving_model_dir` and `model_card.json` beside it.

    Args:
        fn_args: TFX's arguments.
        config: all settings.
        architecture: module of the architecture.
        weights: weights of the trained model, as `get_weights` returns them.
        epochs: number of trained epochs.
        exported: row of the history of the epoch whose weights are exported.
        settings: settings of the training with all defaults filled in, for the card.
    """
    # A copy outside the strategy and in float32 can be served on any device.
    model = build(config, architecture)
    model.set_weights(weights)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    path = fn_args.serving_model_dir.rstrip("/")
    card = model_card.create(config, architecture, model.count_params(), epochs, exported, settings)
    files.write_json(f"{path.rpartition('/')[0]}/{model_card.FILE}", card)
    signatures.Classifier(model, transform_output, config.labels, config.image_size).save(path)
