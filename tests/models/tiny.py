"""A pretrained architecture so small that a training of it takes seconds."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras
from tf_keras import layers

from models import registry
from models.transfer import Pretrained, linear_head

IMAGE_SIZE = 48
FEATURES = 16
FINE_TUNED = ("upper",)
TRAINING = registry.TrainingSettings(
    epochs=6, optimizer="adamw", learning_rate=0.1, weight_decay=0.01, batch_size=8
)
FINE_TUNING = registry.TrainingSettings(
    epochs=3, optimizer="adamw", learning_rate=1e-3, batch_size=8
)


def backbone(image_size: int = IMAGE_SIZE) -> tf_keras.Model:
    """Float32 [batch, size, size, 3] in 0..255 to features [batch, 16]; always the same weights."""
    stack = [
        layers.Input([image_size, image_size, 3], name="images"),
        layers.Rescaling(1 / 128, offset=-1, name="rescale"),
        layers.Conv2D(12, 7, 4, activation="relu", name="lower"),
        layers.Conv2D(FEATURES, 3, 2, activation="relu", name="upper"),
        layers.GlobalAveragePooling2D(name="pool"),
    ]
    model = tf_keras.Sequential(stack, name="tiny")
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.2, w.shape) for w in model.get_weights()])
    return model


def build(image_size: int, num_classes: int) -> Pretrained:
    """The backbone under a linear head."""
    head = linear_head(FEATURES, num_classes)
    return Pretrained(backbone(image_size), head, FINE_TUNED, name="tiny")


def register(patch: pytest.MonkeyPatch, module) -> None:
    """Makes a module, or what looks like one, the architecture of every name."""
    patch.setattr(registry, "find", lambda name: module)
