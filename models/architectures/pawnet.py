"""A small residual network that learns from nothing, for pictures unlike any photo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.registry import Training

if TYPE_CHECKING:
    import tf_keras

IMAGE_SIZE = 150
TRAINING = Training(
    epochs=20,
    optimizer="adamw",
    learning_rate=2e-3,
    schedule="cosine",
    label_smoothing=0.1,
    weight_decay=0.02,
)


def build(
    image_size: int,
    num_classes: int,
    *,
    filters: tuple[int, ...] = (24, 48, 96, 128),
    dropout: float = 0.3,
    augment: bool = True,
) -> tf_keras.Model:
    """Float32 [batch, image_size, image_size, 3] in 0..255 to probabilities [batch, num_classes].

    Args:
        image_size: side of the images in pixels.
        num_classes: number of classes.
        filters: channels of each stage; every stage halves the resolution.
        dropout: share of features dropped before the classifier.
        augment: whether training images are changed at random.
    """
    import tf_keras
    from tf_keras import layers

    from models.augmentation import Augment

    inputs = layers.Input([image_size, image_size, 3])
    # Half the resolution costs a quarter of the time, and averaging takes the noise away.
    x = layers.AveragePooling2D(2)(inputs)
    x = Augment(name="augment")(x) if augment else x
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    x = _residual(_convolve(x, filters[0], kernel=5, stride=2), filters[0])
    for count in filters[1:]:
        x = _residual(_convolve(layers.MaxPooling2D(2, padding="same")(x), count), count)
    # The mean tells of the whole picture, the maximum of a small part of it, such as an eye.
    pooled = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    x = layers.Dropout(dropout)(layers.Concatenate()(pooled))
    # Probabilities stay float32 under mixed precision.
    outputs = layers.Dense(num_classes, activation="softmax", dtype="float32")(x)
    return tf_keras.Model(inputs, outputs, name="pawnet")


def _convolve(x, filters: int, kernel: int = 3, stride: int = 1, activate: bool = True):
    from tf_keras import layers

    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU()(x) if activate else x


def _residual(x, filters: int):
    from tf_keras import layers

    change = _convolve(_convolve(x, filters), filters, activate=False)
    return layers.ReLU()(layers.Add()([x, change]))
