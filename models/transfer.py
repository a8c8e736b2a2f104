"""Transfer learning: a pretrained backbone with a new classification head."""

from __future__ import annotations

from collections.abc import Sequence

import tf_keras
from tf_keras import layers


class Pretrained(tf_keras.Model):
    """Maps images to probabilities through `augment`, `backbone` and `head`.

    The backbone is frozen at first. `freeze` and `unfreeze` change that.

    Args:
        backbone: maps float32 [batch, size, size, 3] in 0..255 to features float32 [batch, n]. Its
            batch statistics must be frozen.
        head: maps features to probabilities [batch, classes].
        fine_tuned: names of the backbone's layers that `unfreeze` makes trainable.
        augment: layer that augments training images; None disables augmentation.
        name: name of the model.

    Example:

    ```python
    from models.backbones import efficientnet_lite
    from models.transfer import Pretrained, linear_head

    backbone = efficientnet_lite.build(224)
    head = linear_head(efficientnet_lite.FEATURES, num_classes=5)
    model = Pretrained(backbone, head, fine_tuned=["top_conv"])
    model.unfreeze()  # Makes top_conv trainable, in addition to the head.
    ```
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
        """Makes only the head trainable."""
        self.backbone.trainable = False

    def penalize(self, strength: float) -> None:
        """Sets the head's L2 penalty: adds `strength / 2` times its squared weights to the loss.

        Call before the model is compiled.
        """
        for layer in self.head.layers:
            if getattr(layer, "kernel_regularizer", None):
                layer.kernel_regularizer.l2 = strength / 2

    def unfreeze(self) -> None:
        """Makes the layers named in `fine_tuned` trainable too."""
        self.backbone.trainable = True
        for layer in self.backbone.layers:
            layer.trainable = layer.name in self._fine_tuned


def linear_head(features: int, num_classes: int) -> tf_keras.Model:
    """Creates a dense softmax layer: float32 [batch, features] to [batch, num_classes].

    Its weights start at zero and have an L2 penalty, see `Pretrained.penalize`. With random initial
    weights and no penalty, accuracy is 2 points lower for 20 photos of cats and dogs
    (`benchmarks/architectures.py`).
    """
    classify = layers.Dense(
        num_classes,
        activation="softmax",
        kernel_initializer="zeros",
        kernel_regularizer=tf_keras.regularizers.L2(0.0),
        dtype="float32",  # Under mixed precision too.
    )
    return tf_keras.Sequential([layers.Input([features]), classify], name="head")
