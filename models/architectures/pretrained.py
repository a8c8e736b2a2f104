"""A network of `keras.applications` under a new classifier, with its weights from a file of yours.

Nothing is downloaded: `weights` is the path of a weights file without the top, as Keras publishes
them (`mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5`) or as `save_weights` of
such a network writes it. With weights the network stays as it is and only the classifier learns,
unless `fine_tune`; without, everything is trained from nothing.
"""

from __future__ import annotations

import os
import tempfile

import tensorflow as tf
import tf_keras
from tf_keras import layers

from models.augmentation import Augment
from models.registry import Training

TRAINING = Training(
    epochs=10,
    optimizer="adamw",
    learning_rate=1e-3,
    schedule="cosine",
    label_smoothing=0.1,
    weight_decay=0.02,
)

# Whether the network wants its input in -1..1; the others scale 0..255 themselves. The first
# EfficientNets are not here: Keras adds a layer to them where it downloads their weights itself, so
# that the same weights in a network without that layer mean something else.
_WANTS_SCALING = {
    "EfficientNetV2B0": False,
    "MobileNetV2": True,
    "MobileNetV3Large": False,
    "ResNet50V2": True,
}


def build(
    image_size: int,
    num_classes: int,
    *,
    backbone: str = "MobileNetV2",
    weights: str | None = None,
    fine_tune: bool = False,
    dropout: float = 0.3,
    augment: bool = True,
) -> tf_keras.Model:
    """Float32 [batch, image_size, image_size, 3] in 0..255 to probabilities [batch, num_classes].

    Args:
        image_size: side of the images in pixels, 32 or more.
        num_classes: number of classes.
        backbone: class of `keras.applications`, see the names above.
        weights: path of the network's weights, on any file system that TensorFlow knows.
        fine_tune: whether the network learns too where it has weights.
        dropout: share of features dropped before the classifier.
        augment: whether training images are changed at random.

    Raises:
        ValueError: an unknown backbone, or weights that are missing or those of another network.
    """
    if backbone not in _WANTS_SCALING:
        raise ValueError(
            f"Unknown model.arguments.backbone. Received: {backbone!r}. "
            f"Known: {', '.join(_WANTS_SCALING)}."
        )
    shape = [image_size, image_size, 3]
    network = getattr(tf_keras.applications, backbone)(
        include_top=False, weights=None, input_shape=shape
    )
    if weights:
        _load(network, weights, backbone)
        network.trainable = fine_tune
    inputs = layers.Input(shape)
    x = Augment(name="augment")(inputs) if augment else inputs
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(x) if _WANTS_SCALING[backbone] else x
    x = layers.GlobalAveragePooling2D()(network(x))
    x = layers.Dropout(dropout)(x)
    # Probabilities stay float32 under mixed precision.
    outputs = layers.Dense(num_classes, activation="softmax", dtype="float32")(x)
    return tf_keras.Model(inputs, outputs, name="pretrained")


def _load(network: tf_keras.Model, path: str, backbone: str) -> None:
    if not tf.io.gfile.exists(path):
        raise ValueError(f"model.arguments.weights: there is no file {path}.")
    with tempfile.TemporaryDirectory() as folder:
        local = f"{folder}/{os.path.basename(path)}"  # HDF5 reads local files only.
        tf.io.gfile.copy(path, local)
        try:
            network.load_weights(local)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(
                f"model.arguments.weights: {path} does not hold the weights of {backbone} without "
                f"its top, in HDF5. Keras says: {error}"
            ) from error
