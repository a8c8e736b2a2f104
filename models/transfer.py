"""A pretrained network under a new classifier, and the features that it makes of photos."""

from __future__ import annotations

from collections.abc import Sequence

import tf_keras
from tf_keras import layers


class Pretrained(tf_keras.Model):
    """Images through `augment`, `backbone` and `head` to probabilities.

    Made with the backbone frozen. A model inside another one learns only if its own `trainable`
    is true: use `freeze` and `thaw`.

    Example:

    ```python
    backbone = efficientnet_lite.build(224, weights)
    model = Pretrained(backbone, linear_head(1280, 5), fine_tuned=["top_conv"])
    model.thaw()  # top_conv and the head learn
    ```

    Args:
        backbone: float32 [batch, size, size, 3] in 0..255 to features float32 [batch, n]. Its
            batch statistics must be frozen.
        head: features to probabilities [batch, classes].
        fine_tuned: names of the backbone's layers that `thaw` lets learn.
        augment: layer that changes training images at random; None leaves them alone.
        name: of the model.
    """

    def __init__(
        self,
        backbone: tf_keras.Model,
        head: tf_keras.Model,
        fine_tuned: Sequence[str],
        augment: layers.Layer | None = None,
        name: str = "pretrained",
    ):
        inputs = layers.Input(backbone.input_shape[1:])
        images = augment(inputs) if augment else inputs
        super().__init__(inputs, head(backbone(images)), name=name)
        self.backbone, self.head = backbone, head
        self._fine_tuned = tuple(fine_tuned)
        self.freeze()

    def freeze(self) -> None:
        """Leaves learning to the head."""
        self.backbone.trainable = False

    def penalize(self, strength: float) -> None:
        """Adds `strength / 2` times the square of the head's weights to the loss.

        Call before the model is compiled.
        """
        for layer in self.head.layers:
            if getattr(layer, "kernel_regularizer", None):
                layer.kernel_regularizer.l2 = strength / 2

    def thaw(self) -> None:
        """Lets the upper layers of the backbone learn too."""
        self.backbone.trainable = True
        for layer in self.backbone.layers:
            layer.trainable = layer.name in self._fine_tuned


def linear_head(features: int, num_classes: int) -> tf_keras.Model:
    """Float32 [batch, features] to probabilities [batch, num_classes].

    It begins with zeros and has a penalty, see `Pretrained.penalize`: from random weights and
    without one, 20 photos of cats and dogs give 2 points less (`benchmarks/architectures.py`).
    """
    classify = layers.Dense(
        num_classes,
        activation="softmax",
        kernel_initializer="zeros",
        kernel_regularizer=tf_keras.regularizers.L2(0.0),
        dtype="float32",  # Probabilities stay so under mixed precision.
    )
    return tf_keras.Sequential([layers.Input([features]), classify], name="head")
