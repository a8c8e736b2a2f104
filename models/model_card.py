"""What a served model is and where it came from, in a file beside it."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform

from models import features
from models.options import Options

FILE = "model_card.json"
_LIBRARIES = ("tensorflow", "tf-keras", "tfx", "tensorflow-transform", "numpy")


def describe(config: Options, history: list[dict], settings: dict) -> dict:
    """The card's content; its sections are named after Model Card Toolkit's schema 0.0.2.

    Args:
        config: the training's settings; its `provenance` is taken over as it is.
        history: rows of `history.json`.
        settings: what the architecture's defaults and the cluster made of the settings.
    """
    last = history[-1] if history else {}
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    size = config.image_size
    returned = [features.PREDICTED_LABEL, features.PREDICTED_INDEX, features.PROBABILITIES]
    return {
        "schema_version": "0.0.2",
        "model_details": {
            "name": config.model.name,
            "overview": f"Classifies photos as one of: {', '.join(config.labels)}.",
            "version": {
                "name": config.run_id,
                "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            },
        },
        "model_parameters": {
            "model_architecture": config.model.name,
            "labels": list(config.labels),
            "input_format": {
                "serving_default": "examples: string [batch], serialised tf.Example records",
                "serving_jpeg": "image_bytes: string [batch], JPEG or PNG files",
                "serving_pixels": f"pixels: float32 [batch, {size}, {size}, 3] in 0..255, RGB",
            },
            "output_format": returned,
            "settings": settings,
        },
        "quantitative_analysis": {
            "performance_metrics": [
                {"type": name.removeprefix("val_"), "value": value, "slice": "validation"}
                for name, value in last.items()
                if name.startswith("val_")
            ]
        },
        "provenance": {
            **config.provenance,
            "python": platform.python_version(),
            "libraries": versions,
        },
    }
