"""A small residual network trained from scratch, for images unlike photos, such as drawings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.registry import TrainingSettings

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

IMAGE_SIZE = 150
TRAINING = TrainingSettings(
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
    """Builds a model: float32 [batch, size, size, 3] in 0..255 to [batch, num_classes].

    Args:
        image_size: height and width of the images in pixels.
        num_classes: number of classes.
        filters: channels of each stage. Each stage halves the resolution.
        dropout: dropout rate before the classifier.
        augment: whether to augment training images.
    """
    import tf_keras
    from tf_keras import layers

    from models.augmentation import Augment

    inputs = layers.Input([image_size, image_size, 3])
    # Half the resolution takes a quarter of the time, and averaging reduces noise.
    x = layers.AveragePooling2D(2)(inputs)
    x = Augment(name="augment")(x) if augment else x
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    x = _residual(_convolve(x, filters[0], kernel=5, stride=2), filters[0])
    for count in filters[1:]:
        x = _residual(_convolve(layers.MaxPooling2D(2, padding="same")(x), count), count)
    # The mean describes the whole image, the maximum a small part of it.
    pooled = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    x = layers.Dropout(dropout)(layers.Concatenate()(pooled))
    # Outputs float32 under mixed precision too.
    outputs = layers.Dense(num_classes, activation="softmax", dtype="float32")(x)
    return tf_keras.Model(inputs, outputs, name="pawnet")


def _convolve(
    x: tf.Tensor, filters: int, kernel: int = 3, stride: int = 1, activate: bool = True
) -> tf.Tensor:
    from tf_keras import layers

    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU()(x) if activate else x


def _residual(x: tf.Tensor, filters: int) -> tf.Tensor:
    from tf_keras import layers

    residual = _convolve(_convolve(x, filters), filters, activate=False)
    return layers.ReLU()(layers.Add()([x, residual]))
