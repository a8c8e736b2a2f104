"""The small CNN of the published workflow that this project implements.

Four 3x3 convolutions of 16, 32, 64 and 64 filters, each followed by 2x2 max pooling, then a dense
layer of 256, trained with RMSprop at 1e-4 on 150x150 pixels in 0..255, for 10 epochs. A softmax
over any number of classes replaces the published network's single sigmoid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.registry import TrainingSettings

if TYPE_CHECKING:
    import tf_keras

IMAGE_SIZE = 150
TRAINING = TrainingSettings(epochs=10, optimizer="rmsprop", learning_rate=1e-4)


def build(image_size: int, num_classes: int) -> tf_keras.Model:
    """Builds a model: float32 [batch, size, size, 3] in 0..255 to [batch, num_classes]."""
    import tf_keras
    from tf_keras import layers

    stack = [layers.Input([image_size, image_size, 3])]
    for filters in (16, 32, 64, 64):
        stack += [layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D(2)]
    stack += [
        layers.Flatten(),
        layers.Dense(256, activation="relu"),
        # Outputs float32 under mixed precision too.
        layers.Dense(num_classes, activation="softmax", dtype="float32"),
    ]
    return tf_keras.Sequential(stack, name="article_cnn")
