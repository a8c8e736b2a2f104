"""A network of `keras.applications` with a new classification head.

`weights` is one of

- the path of a weights file without the top layer, local or on gs://, as Keras publishes it
  (`mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5`) or `save_weights` writes it;
- `imagenet`: the file that Keras publishes for 224 pixels. Keras downloads it once to
  `~/.keras/models`, on each machine that builds the network: this one and, on Vertex AI, the one
  that trains. Give a path on gs:// if those have no internet access;
- None: the network is trained from scratch.

With weights, the head is trained on features; `trainer.preset` and `trainer.fine_tuning_epochs`
control fine-tuning.

`TRAINING` also applies to a network trained from scratch, which limits its learning rate to a fifth
of what a head alone could use. Such a network needs more epochs and `trainer.label_smoothing=0.1`;
label smoothing would make the head of a pretrained network underconfident.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

from models.backbones.package import Weights
from models.backbones.published import PublishedWeights, file_digest
from models.registry import TrainingSettings

if TYPE_CHECKING:
    import tf_keras

IMAGE_SIZE = 224
TRAINING = TrainingSettings(
    epochs=20,
    optimizer="adamw",
    learning_rate=1e-3,
    schedule="cosine",
    weight_decay=0.02,
    penalty=2.0,
    least_steps=12,
)
FINE_TUNING = TrainingSettings(
    epochs=8,
    optimizer="adamw",
    learning_rate=3e-4,
    schedule="cosine",
    weight_decay=0.02,
    penalty=2.0,
)

IMAGENET = "imagenet"
OWN_FILE = "a file named in model.arguments.weights"
"""The `source` of weights in the user's own file."""

# Without EfficientNetB0 to B7: Keras inserts a layer into them only if it downloads the weights
# itself; without that layer the same weights give other features.
BACKBONES = {
    "EfficientNetV2B0": PublishedWeights(
        "efficientnet_v2/efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"
    ),
    "MobileNetV2": PublishedWeights(
        "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ),
    "MobileNetV3Large": PublishedWeights(
        "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "07fb09a5933dd0c8eaafa16978110389",
    ),
    "MobileNetV3Small": PublishedWeights(
        "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        "d3e8ec802a04aa4fc771ee12a9a9b836",
    ),
    "ResNet50V2": PublishedWeights(
        "resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "fac2f116257151a9d068a22e544a4917",
    ),
}
"""Classes of `keras.applications` by name, with their weights without the top."""
# Expect pixels in -1..1; the others rescale 0..255 themselves.
_SCALED = ("MobileNetV2", "ResNet50V2")


def find_weights(
    *, backbone: str = "MobileNetV2", weights: str | None = None, **_: Any
) -> Weights | None:
    """Finds the weights for these arguments; downloads `imagenet` if it is not in Keras' cache.

    Args:
        backbone: as for `build`.
        weights: as for `build`.

    Returns:
        The weights; None for a network that is trained from scratch.

    Raises:
        ValueError: The backbone is unknown, the file is missing, or the download failed.
    """
    published = _published(backbone)
    if not weights:
        return None
    if not isinstance(weights, str):
        raise ValueError(
            f"model.arguments.weights: expected a path, imagenet or null. Received: {weights!r}."
        )
    if weights == IMAGENET:
        path = _download(published)
        return Weights(
            name=published.name,
            path=path,
            sha256=file_digest(path),
            source=f"keras.applications ({published.url})",
            trained_on="ImageNet (ILSVRC 2012), 1,000 classes",
            licence="set by the network's authors: see https://keras.io/api/applications",
        )
    try:
        digest = file_digest(weights)
    except FileNotFoundError:
        raise _missing(weights) from None
    except OSError as error:
        raise ValueError(f"model.arguments.weights: cannot read {weights}: {error}") from error
    return Weights(
        name=os.path.basename(weights),
        path=weights,
        sha256=digest,
        source=OWN_FILE,
        trained_on="unknown",
        licence="unknown",
    )


def build(
    image_size: int,
    num_classes: int,
    *,
    backbone: str = "MobileNetV2",
    weights: str | None = None,
    fine_tuned: float = 0.5,
    dropout: float = 0.3,
    augment: bool = True,
) -> tf_keras.Model:
    """Builds a model: float32 [batch, size, size, 3] in 0..255 to [batch, num_classes].

    Args:
        image_size: height and width of the images in pixels, 32 or more.
        num_classes: number of classes.
        backbone: class of `keras.applications`, one of `BACKBONES`.
        weights: path of the network's weights, on any file system that TensorFlow supports, or
            `imagenet`; None trains the network from scratch.
        fine_tuned: share of the backbone's layers, counted from the top, that fine-tuning trains.
            Batch normalisation stays frozen.
        dropout: dropout rate before the classifier of a network that is trained from scratch.
        augment: whether to augment training images.

    Returns:
        A `models.transfer.Pretrained` with weights, otherwise a plain model.

    Raises:
        ValueError: The backbone is unknown, `fine_tuned` is not in [0, 1], or the weights are
            missing or belong to another network.
    """
    import tf_keras
    from tf_keras import layers

    from models.augmentation import Augment
    from models.transfer import Pretrained, linear_head

    published = _published(backbone)
    if not 0 <= fine_tuned <= 1:
        raise ValueError(
            f"model.arguments.fine_tuned: expected a share, 0 to 1. Received: {fine_tuned}."
        )
    network = _network(backbone, image_size)
    if not weights:
        inputs = layers.Input([image_size, image_size, 3])
        x = Augment(name="augment")(inputs) if augment else inputs
        x = layers.Dropout(dropout)(network(x))
        # Outputs float32 under mixed precision too.
        outputs = layers.Dense(num_classes, activation="softmax", dtype="float32")(x)
        return tf_keras.Model(inputs, outputs, name="pretrained")
    _load(network, _download(published) if weights == IMAGENET else weights, backbone)
    augmentation = Augment(rotation=10.0, zoom=0.25, shift=0.1, light=0.2, name="augment")
    return Pretrained(
        network,
        linear_head(network.output_shape[-1], num_classes),
        fine_tuned=_upper_layers(network, fine_tuned),
        augment=augmentation if augment else None,
        name="pretrained",
    )


def _published(backbone: str) -> PublishedWeights:
    if backbone not in BACKBONES:
        raise ValueError(
            f"Unknown model.arguments.backbone. Received: {backbone!r}. "
            f"Known: {', '.join(BACKBONES)}."
        )
    return BACKBONES[backbone]


def _network(backbone: str, image_size: int) -> tf_keras.Model:
    """Builds a flat model from images in 0..255 to features: `unfreeze` finds layers by name."""
    import tf_keras
    from tf_keras import layers

    # Restarts Keras' numbering of unnamed layers, so that the network's fingerprint, the key of its
    # cached features, is the same in every process.
    tf_keras.backend.reset_uids()
    shape = [image_size, image_size, 3]
    images = layers.Input(shape, name="images")
    x = images
    if backbone in _SCALED:
        x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(images)
    return getattr(tf_keras.applications, backbone)(
        include_top=False, weights=None, input_tensor=x, input_shape=shape, pooling="avg"
    )


def _upper_layers(network: tf_keras.Model, share: float) -> list[str]:
    """Returns the names of the layers that fine-tuning trains.

    Leaves out batch normalisation: a frozen layer uses its stored statistics in training too.
    """
    from tf_keras import layers

    first = round(len(network.layers) * (1 - share))
    return [
        layer.name
        for layer in network.layers[first:]
        if not isinstance(layer, layers.BatchNormalization)
    ]


def _load(network: tf_keras.Model, path: str, backbone: str) -> None:
    import tensorflow as tf

    if not tf.io.gfile.exists(path):
        raise _missing(path)
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.basename(path)
        # HDF5 reads local files only, and Keras detects HDF5 by the file name.
        local = f"{folder}/{name if name.endswith('.h5') else 'weights.h5'}"
        tf.io.gfile.copy(path, local)
        try:
            network.load_weights(local)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(
                f"model.arguments.weights: {path} does not hold the weights of {backbone} without "
                f"the top layer, in HDF5. Keras reports: {error}"
            ) from error


def _missing(path: str) -> ValueError:
    return ValueError(f"model.arguments.weights: file not found: {path}.")


def _download(published: PublishedWeights) -> str:
    try:
        return published.find()
    except ValueError as error:
        raise ValueError(f"model.arguments.weights: {IMAGENET}: {error}") from error
