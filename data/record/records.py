"""The record format: its features, and its bytes as a serialized tf.train.Example.

The layout of TFRecorder 2.0, one value per feature:

- `image` (bytes): in `raw` records URL-safe base64 of the uint8 pixels, height x width x channels
  in row-major order; in `jpeg` records a JPEG file.
- `image_height`, `image_width`, `image_channels` (int64): of the decoded image; 1 channel for grey,
  3 for RGB.
- `image_name` (bytes): file name of the photo without its folder.
- `label` (int64): index into the label vocabulary, -1 for a label that is not in TRAIN.
- `split` (bytes): TRAIN, VALIDATION or TEST.
- `image_encoding` (bytes): `jpeg`; absent in raw records.

A JPEG file begins with the bytes ff d8 ff, which are not base64 text, so `image` alone identifies
the encoding. This module imports neither TensorFlow nor Beam nor pandas.
"""

from __future__ import annotations

from collections.abc import Mapping

from data.record.example_proto import message_class

IMAGE = "image"
IMAGE_HEIGHT = "image_height"
IMAGE_WIDTH = "image_width"
IMAGE_CHANNELS = "image_channels"
IMAGE_NAME = "image_name"
IMAGE_ENCODING = "image_encoding"
LABEL = "label"
SPLIT = "split"

IMAGE_FEATURES = (IMAGE, IMAGE_CHANNELS, IMAGE_HEIGHT, IMAGE_NAME, IMAGE_WIDTH)
"""The features of a photo, besides the columns of its row."""

SPLITS = ("TRAIN", "VALIDATION", "TEST")
DISCARD = "DISCARD"

RAW = "raw"
JPEG = "jpeg"
ENCODINGS = (RAW, JPEG)
JPEG_MAGIC = b"\xff\xd8\xff"

Value = bytes | int | float
"""The value of a feature."""

Features = dict[str, Value | list[Value]]
"""The features of a parsed record: the value of each, or the list where it is not exactly one."""


def serialize(features: Mapping[str, Value]) -> bytes:
    """Serializes a tf.train.Example with one value per feature, sorted by name.

    Equal features give equal bytes, which a map field alone does not guarantee.

    Args:
        features: Feature name to value: bytes, int (signed 64 bits) or float (stored as 32 bits).

    Raises:
        TypeError: A value of another type.
    """
    example = _Example()
    for name in sorted(features):
        value = features[name]
        entry = example.features.feature.add(key=name)
        if isinstance(value, bytes):
            entry.value.bytes_list.value.append(value)
        elif isinstance(value, int):
            entry.value.int64_list.value.append(value)
        elif isinstance(value, float):
            entry.value.float_list.value.append(value)
        else:
            raise TypeError(f"Expected bytes, int or float. Received: {name}={value!r}")
    serialized: bytes = example.SerializeToString()
    return serialized


def parse(record: bytes) -> Features:
    """Parses a serialized tf.train.Example.

    Returns:
        Feature name to its value, or to the list of its values where it has not exactly one.

    Raises:
        google.protobuf.message.DecodeError: `record` is not a serialized Example.
    """
    features: Features = {}
    for entry in _Example.FromString(record).features.feature:
        kind = entry.value.WhichOneof("choice")
        values = list(getattr(entry.value, kind).value) if kind else []
        features[entry.key] = values[0] if len(values) == 1 else values
    return features


# Source: tensorflow/core/example/{example,feature}.proto.
_Example = message_class(
    "Example",
    {
        "Example": {"features": (1, "Features")},
        "Features": {"feature": (1, "*Entry")},
        "Entry": {"key": (1, "string"), "value": (2, "Feature")},
        "Feature": {
            "bytes_list": (1, "|BytesList"),
            "float_list": (2, "|FloatList"),
            "int64_list": (3, "|Int64List"),
        },
        "BytesList": {"value": (1, "*bytes")},
        "FloatList": {"value": (1, "*float")},
        "Int64List": {"value": (1, "*int64")},
    },
)
