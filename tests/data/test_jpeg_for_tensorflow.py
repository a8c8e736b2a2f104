"""TensorFlow decodes the JPEG of every record, even of damaged files that are accepted."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from data.record.photos import BadPhotoError, EncodeOptions, photo_features, pixels
from tests.data.drawn import encoded, picture, shared

JPEG = EncodeOptions("jpeg")
END = b"\xff\xd9"


def harmed(content: bytes, draw: random.Random) -> Iterator[bytes]:
    """The file cut, prolonged, without its end marker, and with single bytes changed."""
    for cut in (1, 2, 3, 10, 100):
        yield content[:-cut]
        yield content[:-cut] + END
        yield content[:-cut] + bytes(draw.randrange(256) for _ in range(8)) + END + b"junk"
    yield content + b"\0" * 5
    yield content + b"junk" * 100
    yield content + content
    yield content[:-2] + content
    for _ in range(20):
        at = draw.randrange(2, len(content))
        yield content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
    for _ in range(8):
        at = draw.randrange(len(content) // 2, len(content) - 10)
        yield content[:at] + content[at + draw.randrange(1, 5) :]
        yield content[:at] + bytes(draw.randrange(256) for _ in range(3)) + content[at:]


def check(content: bytes) -> bool:
    """Whether the file is accepted; if so, TensorFlow must decode its record."""
    try:
        features = photo_features(content, JPEG)
    except BadPhotoError:
        return False
    decoded = tf.io.decode_jpeg(features["image"], dct_method="INTEGER_ACCURATE").numpy()
    np.testing.assert_array_equal(decoded, pixels(features))
    return True


@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "L"}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}],
    ids=["plain", "grey", "progressive", "full-colour", "small"],
)
def test_every_accepted_file_is_decoded(options):
    mode = {"mode": options.pop("mode")} if "mode" in options else {}
    content = encoded(picture(3, (160, 120), **mode), **options)
    accepted = [check(file) for file in harmed(content, random.Random(0))]
    assert sum(accepted) > 20


def test_the_cases_without_an_end_marker_are_decoded():
    for path in sorted(shared("cases", "jpeg-without-end-marker").glob("*.jpg")):
        assert check(path.read_bytes()), path.name
