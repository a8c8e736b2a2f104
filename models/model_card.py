"""The model card: a model's inputs, outputs, metrics and provenance.

Follows the JSON schema of Model Card Toolkit, version 0.0.2
(github.com/tensorflow/model-card-toolkit), with one additional field, `provenance`.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from models import features
from models.options import Options

FILE = "model_card.json"
_LIBRARIES = ("tensorflow", "tf-keras", "tensorflow-transform", "tfx", "numpy")
_COMMIT_VARIABLE = "GIT_COMMIT"


def create(
    config: Options,
    architecture: ModuleType,
    parameters: int,
    epochs: int,
    exported: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Creates the card of a trained model.

    Args:
        config: all settings.
        architecture: module of the architecture, whose docstring becomes the overview.
        parameters: number of parameters of the model.
        epochs: number of trained epochs.
        exported: row of `history.json` of the epoch whose weights are exported.
        settings: settings of the training with all defaults filled in.

    Returns:
        JSON-serialisable fields. `provenance` holds `config.provenance`, the settings, the versions
        of Python and the libraries, and the git commit if it is known.
    """
    size, labels = config.image_size, list(config.labels)
    metrics = [
        {"type": name.removeprefix("val_"), "value": str(value), "slice": "validation"}
        for name, value in exported.items()
        if name.startswith("val_") and math.isfinite(value)
    ]
    return {
        "schema_version": "0.0.2",
        "model_details": {
            "name": config.model.name,
            "overview": (architecture.__doc__ or "").strip(),
            "version": {"date": datetime.datetime.now(datetime.timezone.utc).isoformat()},
            "licenses": _licenses(config),
        },
        "model_parameters": {
            "model_architecture": f"{config.model.name}, {parameters} parameters",
            "data": [
                {
                    "name": split,
                    "description": f"{count} labelled photos",
                }
                for split, count in config.counts.items()
            ],
            "input_format": f"photos; resized to {size}x{size} pixels, RGB",
            "input_format_map": [
                {"key": "serving_default", "value": "examples: serialised tf.Example, string [n]"},
                {"key": "serving_jpeg", "value": "image_bytes: JPEG or PNG files, string [n]"},
                {
                    "key": "serving_pixels",
                    "value": "pixels: 0 to 255, float32 [n, height, width, 3]; "
                    f"resized to {size}x{size} where they have another size",
                },
                {
                    "key": "transform_features",
                    "value": "examples: serialised tf.Example, string [n]; gives the features of "
                    f"training: image, string [n] of {features.image_bytes(size)} bytes, and label",
                },
            ],
            "output_format": "a probability for each label, and the most probable label",
            "output_format_map": [
                {"key": "label", "value": "string [n]"},
                {"key": "label_index", "value": "int64 [n]"},
                {
                    "key": "probabilities",
                    "value": f"float32 [n, {len(labels)}], in order: {labels}",
                },
            ],
        },
        "quantitative_analysis": {"performance_metrics": metrics},
        "considerations": {
            "limitations": [
                {"description": "Every photo is given one of the labels, whatever it shows."},
                {"description": "A photo's EXIF orientation is not applied when it is served."},
            ]
        },
        "provenance": {
            **config.provenance,
            "epochs": epochs,
            "exported_epoch": exported.get("epoch"),
            "settings": {
                "image_size": size,
                "labels": labels,
                "model": {"name": config.model.name, **config.model.arguments},
                "trainer": dict(settings),
            },
            "git_commit": config.provenance.get("git_commit") or _git_commit(),
            "python": platform.python_version(),
            "libraries": _versions(),
        },
    }


def _licenses(config: Options) -> list[dict[str, str]]:
    weights = config.provenance.get("weights")
    if not weights:
        return []
    return [
        {
            "identifier": weights["licence"],
            "custom_text": f"Pretrained weights {weights['name']} ({weights['source']}), trained "
            f"on {weights['trained_on']}; SHA-256 {weights['sha256']}.",
        }
    ]


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """Returns the commit in the variable GIT_COMMIT, or else that of the checkout, or None.

    The commit of a checkout with changes ends in `-dirty`.
    """
    if given := os.environ.get(_COMMIT_VARIABLE):
        return given
    file = Path(__file__)
    try:
        # An installed copy may lie inside another project's repository.
        _git(file, "ls-files", "--error-unmatch", file.name)
        return _git(file, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(file: Path, *command: str) -> str:
    return subprocess.run(
        ["git", "-C", os.fspath(file.parent), *command],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    ).stdout.strip()
