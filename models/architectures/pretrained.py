"""A network of `keras.applications` under a new classifier.

`weights` is one of

- the path of a weights file without the top, here or on gs://, as Keras publishes them
  (`mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5`) or as `save_weights` of such
  a network writes it;
- `imagenet`: the file that Keras publishes for 224 pixels. Keras downloads it once into its own
  cache, `~/.keras/models`, on each machine that builds the network: this one and, on Vertex AI, the
  one that trains. Give a path on gs:// where those have no way out;
- None: the network is trained from nothing.

With weights the head is trained on features, then `trainer.preset` and
`trainer.fine_tuning_epochs` decide about fine-tuning.

A network from nothing takes `TRAINING` too: the learning rate is as high as it bears, a fifth of
what a head could take. Label smoothing helps it and would leave a head unsure of what it knows:
set `trainer.label_smoothing=0.1` with it, and more epochs.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from models.backbones.package import Weights
from models.backbones.published import Published, file_digest
from models.registry import Training

if TYPE_CHECKING:
    import tf_keras

IMAGE_SIZE = 224
TRAINING = Training(
    epochs=20,
    optimizer="adamw",
    learning_rate=1e-3,
    schedule="cosine",
    weight_decay=0.02,
    penalty=2.0,
    least_steps=12,
)
FINE_TUNING = Training(
    epochs=8,
    optimizer="adamw",
    learning_rate=3e-4,
    schedule="cosine",
    weight_decay=0.02,
    penalty=2.0,
)

IMAGENET = "imagenet"
OWN_FILE = "a file named in model.arguments.weights"
"""The `source` of weights that are a file of the user's."""

# The first EfficientNets are not here: Keras adds a layer to them where it downloads their weights
# itself, so that the same weights in a network without that layer mean something else.
BACKBONES = {
    "EfficientNetV2B0": Published(
        "efficientnet_v2/efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"
    ),
    "MobileNetV2": Published(
        "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ),
    "MobileNetV3Large": Published(
        "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "07fb09a5933dd0c8eaafa16978110389",
    ),
    "MobileNetV3Small": Published(
        "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        "d3e8ec802a04aa4fc771ee12a9a9b836",
    ),
    "ResNet50V2": Published(
        "resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "fac2f116257151a9d068a22e544a4917",
    ),
}
"""Classes of `keras.applications` by name, with their weights without the top."""
# They want -1..1; the others scale 0..255 themselves.
_SCALED = ("MobileNetV2", "ResNet50V2")


def find_weights(
    *, backbone: str = "MobileNetV2", weights: str | None = None, **_
) -> Weights | None:
    """Finds the weights that these arguments ask for; downloads `imagenet` where it is not yet.

    Args:
        backbone: as for `build`.
        weights: as for `build`.

    Returns:
        The weights; None for a network from nothing.

    Raises:
        ValueError: an unknown backbone, no such file, or one that cannot be downloaded.
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
    """Float32 [batch, image_size, image_size, 3] in 0..255 to probabilities [batch, num_classes].

    Args:
        image_size: side of the images in pixels, 32 or more.
        num_classes: number of classes.
        backbone: class of `keras.applications`, one of `BACKBONES`.
        weights: path of the network's weights, on any file system that TensorFlow knows, or
            `imagenet`; None trains the network from nothing.
        fine_tuned: share of the backbone's layers, counted from the top, that fine-tuning trains.
            Batch normalisation stays as it is.
        dropout: share of features dropped before the classifier of a network from nothing.
        augment: whether training images are changed at random.

    Returns:
        With weights a `models.transfer.Pretrained`, else a plain model.

    Raises:
        ValueError: an unknown backbone, a share that is none, or weights that are missing or those
            of another network.
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
        # Probabilities stay float32 under mixed precision.
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


def _published(backbone: str) -> Published:
    if backbone not in BACKBONES:
        raise ValueError(
            f"Unknown model.arguments.backbone. Received: {backbone!r}. "
            f"Known: {', '.join(BACKBONES)}."
        )
    return BACKBONES[backbone]


def _network(backbone: str, image_size: int) -> tf_keras.Model:
    """From images in 0..255 to features, all layers in one model: `thaw` finds them by name."""
    import tf_keras
    from tf_keras import layers

    # Keras numbers layers without a name throughout the process. Here they start at 1, so that the
    # network's fingerprint, under which its features are kept, is the same in every process.
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
    """Names of the layers that fine-tuning trains.

    Batch normalisation is not among them: a frozen one takes its statistics as they were trained,
    in training too.
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
        # HDF5 reads local files only, and Keras knows HDF5 by the name.
        local = f"{folder}/{name if name.endswith('.h5') else 'weights.h5'}"
        tf.io.gfile.copy(path, local)
        try:
            network.load_weights(local)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(
                f"model.arguments.weights: {path} does not hold the weights of {backbone} without "
                f"its top, in HDF5. Keras says: {error}"
            ) from error


def _missing(path: str) -> ValueError:
    return ValueError(f"model.arguments.weights: there is no file {path}.")


def _download(published: Published) -> str:
    try:
        return published.find()
    except ValueError as error:
        raise ValueError(f"model.arguments.weights: {IMAGENET}: {error}") from error
