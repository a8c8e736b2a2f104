"""EfficientNet-Lite0 in tf_keras, with weights published for PyTorch.

Follows https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite: no
squeeze-and-excitation, ReLU6 instead of swish, a stem and a head of fixed width. Batch statistics
are frozen in training too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from numpy.typing import NDArray
from tf_keras import layers

TOP = 1280
"""Number of features of the last layer, which come first."""
FEATURES = TOP + 40 + 80 + 112
BLOCKS = 16
# Lower blocks add colour and texture: their maxima raise the accuracy on flowers by one point
# (`python -m benchmarks.heads`). The factor scales their variance to that of the last layer.
_LOWER, _LOWER_FACTOR = (4, 7, 10), 0.1
# The weights were trained on 0..255 normalised with this mean and scale.
_MEAN, _SCALE = 127.0, 128.0
_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def build(image_size: int, weights: Mapping[str, NDArray[Any]] | None = None) -> tf_keras.Model:
    """Builds the backbone: float32 [batch, size, size, 3] in 0..255 to [batch, FEATURES].

    The first 1,280 features are means of the last layer, in 0..6; the others are maxima of three
    lower blocks.

    Args:
        image_size: height and width of the images in pixels; the weights were trained at 224.
        weights: tensors by name, as `torch_file.read` returns them; None initialises at random.

    Returns:
        A model whose layers are named `stem_…`, `block00_…` to `block15_…` and `top_…`.

    Raises:
        ValueError: The weights belong to another network.
    """
    # Every layer has a name: Keras' numbering of unnamed layers would change the fingerprint, the
    # key of cached features.
    inputs = layers.Input([image_size, image_size, 3], name="images")
    x = layers.Rescaling(1 / _SCALE, offset=-_MEAN / _SCALE, name="rescale")(inputs)
    x = _convolve(x, 32, 3, 2, "stem")
    index, lower = 0, []
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            x = _block(x, stage, stage.stride if repeat == 0 else 1, f"block{index:02d}")
            if index in _LOWER:
                lower.append(layers.GlobalMaxPooling2D(name=f"lower{index:02d}_pool")(x))
            index += 1
    x = _convolve(x, TOP, 1, 1, "top")
    x = layers.GlobalAveragePooling2D(name="top_pool")(x)
    lower = layers.Rescaling(_LOWER_FACTOR, name="lower_scale")(
        layers.Concatenate(name="lower")(lower)
    )
    features = layers.Concatenate(name="features")([x, lower])
    model = tf_keras.Model(inputs, features, name="efficientnet_lite0")
    if weights is not None:
        _assign(model, weights)
    return model


def _block(x: tf.Tensor, stage: _Stage, stride: int, name: str) -> tf.Tensor:
    inputs = x
    if stage.expansion != 1:
        x = _convolve(x, x.shape[-1] * stage.expansion, 1, 1, f"{name}_expand")
    depthwise = layers.DepthwiseConv2D(
        stage.kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
    )
    x = _normalize(depthwise(x), f"{name}_depthwise")
    x = _convolve(x, stage.filters, 1, 1, f"{name}_project", activate=False)
    if stride == 1 and inputs.shape[-1] == stage.filters:
        x = layers.Add(name=f"{name}_add")([inputs, x])
    return x


def _convolve(
    x: tf.Tensor, filters: int, kernel: int, stride: int, name: str, activate: bool = True
) -> tf.Tensor:
    convolution = layers.Conv2D(
        filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv"
    )
    return _normalize(convolution(x), name, activate)


def _normalize(x: tf.Tensor, name: str, activate: bool = True) -> tf.Tensor:
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_norm")(x, training=False)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if activate else x


def _assign(model: tf_keras.Model, weights: Mapping[str, NDArray[Any]]) -> None:
    for layer in model.layers:
        if not layer.weights:
            continue
        names = _names(layer.name)
        try:
            values = [weights[name] for name in names]
            if len(names) == 1:
                # PyTorch's layout is [out, in, height, width], or [channels, 1, ...] if depthwise.
                axes = (2, 3, 0, 1) if "depthwise" in layer.name else (2, 3, 1, 0)
                values = [values[0].transpose(axes)]
            layer.set_weights(values)
        except (KeyError, ValueError) as error:
            raise ValueError(f"not the weights of EfficientNet-Lite0: {error}") from error


def _names(layer: str) -> list[str]:
    """Returns the names of a layer's tensors in the file, in the order of the layer's weights."""
    prefix, _, kind = layer.rpartition("_")
    if prefix in ("stem", "top"):
        parent, convolution, norm = {
            "stem": ("", "_conv_stem", "_bn0"),
            "top": ("", "_conv_head", "_bn1"),
        }[prefix]
    else:
        block, _, step = prefix.partition("_")
        parent = f"_blocks.{int(block.removeprefix('block'))}."
        convolution, norm = (
            f"_{step}_conv",
            {"expand": "_bn0", "depthwise": "_bn1"}.get(step, "_bn2"),
        )
    if kind == "conv":
        return [f"{parent}{convolution}.weight"]
    return [f"{parent}{norm}.{each}" for each in ("weight", "bias", "running_mean", "running_var")]


def layers_from(model: tf_keras.Model, first_block: int) -> list[str]:
    """Returns the names of the layers of the blocks from `first_block` on, and of the top."""
    blocks = tuple(f"block{index:02d}_" for index in range(first_block, BLOCKS))
    return [layer.name for layer in model.layers if layer.name.startswith((*blocks, "top_"))]
