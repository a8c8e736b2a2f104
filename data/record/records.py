"""The record: its features, and its bytes as a serialized tf.train.Example.

TFRecorder 2.0's layout, one value a feature:

- `image` (bytes): in `raw` records URL-safe base64 of the uint8 pixels, height x width x channels,
  row by row; in `jpeg` records a JPEG file.
- `image_height`, `image_width`, `image_channels` (int64): of the decoded image; 1 channel is grey,
  3 are RGB.
- `image_name` (bytes): the photo's file name without its folder.
- `label` (int64): index into the label vocabulary, -1 for a label that TRAIN does not have.
- `split` (bytes): TRAIN, VALIDATION or TEST.
- `image_encoding` (bytes): `jpeg`; absent in raw records.

A JPEG file begins with the bytes ff d8 ff, which base64 text never does, so `image` alone tells the
two encodings apart. Nothing heavy is imported here: no TensorFlow, no Beam, no pandas.
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
"""What one photo becomes, besides the columns of its row."""

SPLITS = ("TRAIN", "VALIDATION", "TEST")
DISCARD = "DISCARD"

RAW = "raw"
JPEG = "jpeg"
ENCODINGS = (RAW, JPEG)
JPEG_MAGIC = b"\xff\xd8\xff"

Value = bytes | int | float


def serialize(features: Mapping[str, Value]) -> bytes:
    """A tf.train.Example with one value a feature, features in name order.

    The order makes equal features equal bytes, which a map field alone does not promise.

    Args:
        features: Each feature's value; bytes, int (64 bits, signed) or float (stored as 32 bits).

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
            raise TypeError(f"A feature is bytes, int or float. Received: {name}={value!r}")
    return example.SerializeToString()


def parse(record: bytes) -> dict[str, Value | list[Value]]:
    """The features of a serialized tf.train.Example.

    Returns:
        Each feature's value where it has one, else the list of its values.

    Raises:
        google.protobuf.message.DecodeError: `record` is not an Example.
    """
    features = {}
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
