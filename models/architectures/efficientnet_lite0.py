"""The default: EfficientNet-Lite0, pretrained on ImageNet, with a new classification head.

Suited to a few dozen photos per class and more. The head is trained on features that are computed
once per image; fine-tuning then trains the upper blocks, see `trainer.preset`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.backbones import package
from models.registry import TrainingSettings

if TYPE_CHECKING:
    from models.transfer import Pretrained

_BLOCKS = 16
IMAGE_SIZE = 224
TRAINING = TrainingSettings(
    epochs=40,
    optimizer="adamw",
    learning_rate=5e-2,
    schedule="cosine",
    batch_size=64,
    penalty=2.0,
    least_steps=20,
)
FINE_TUNING = TrainingSettings(
    epochs=8,
    optimizer="adamw",
    learning_rate=3e-4,
    schedule="cosine",
    weight_decay=0.02,
    penalty=2.0,
)


def find_weights(*, first_block: int = 6) -> package.Weights:
    """Finds the weights, which are installed with the environment.

    Args:
        first_block: as for `build`.

    Raises:
        ValueError: `first_block` is out of range, or the package is missing or altered.
    """
    if first_block not in range(_BLOCKS):
        raise ValueError(
            f"model.arguments.first_block: expected 0 to {_BLOCKS - 1}. Received: {first_block!r}."
        )
    return package.EFFICIENTNET_LITE0.find()


def build(
    image_size: int,
    num_classes: int,
    *,
    first_block: int = 6,
) -> Pretrained:
    """Builds a model: float32 [batch, size, size, 3] in 0..255 to [batch, num_classes].

    Args:
        image_size: height and width of the images in pixels, 32 or more. The weights were trained
            at 224.
        num_classes: number of classes.
        first_block: lowest block, 0 to 15, that fine-tuning trains.

    Raises:
        ValueError: `first_block` is out of range, or the package of the weights is missing or
            altered.
    """
    from models.augmentation import Augment
    from models.backbones import efficientnet_lite, torch_file
    from models.transfer import Pretrained, linear_head

    with open(find_weights(first_block=first_block).path, "rb") as file:
        backbone = efficientnet_lite.build(image_size, torch_file.read(file))
    return Pretrained(
        backbone,
        linear_head(efficientnet_lite.FEATURES, num_classes),
        fine_tuned=efficientnet_lite.layers_from(backbone, first_block),
        augment=Augment(rotation=10.0, zoom=0.25, shift=0.1, light=0.2, name="augment"),
        name="efficientnet_lite0",
    )
