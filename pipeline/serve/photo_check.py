"""Checks photos and records before they reach the model."""

from __future__ import annotations

import struct

from google.protobuf.message import DecodeError

from data.record import records
from data.record.jpeg import frame_size
from data.record.photos import AS_TRAINED, FORMATS, MAX_PIXELS, BadPhotoError, photo_features

PHOTO_MAGIC = (b"\xff\xd8\xff", b"\x89PNG")


def check_photo(content: bytes) -> None:
    """Rejects a JPEG or PNG file that is too large to decode.

    Other damaged files are left to the model, which decodes them anyway.

    Raises:
        ValueError: The image has too many pixels.
    """
    check_size(*_size(content))


def is_native(photo: bytes) -> bool:
    """Returns whether the model decodes the format of a photo."""
    return photo.startswith(PHOTO_MAGIC)


def as_jpeg(photo: bytes) -> bytes:
    """Converts a photo of any supported format to JPEG. May take seconds.

    Raises:
        ValueError: The photo is empty, has an unsupported format or too many pixels.
    """
    if not photo:
        raise ValueError("the photo is empty")
    try:
        image = photo_features(photo, AS_TRAINED)[records.IMAGE]
    except BadPhotoError as error:
        raise ValueError(
            f"{error}; it begins with {photo[:8]!r}; supported formats: {', '.join(FORMATS)}"
        ) from None
    assert isinstance(image, bytes)
    return image


def check_size(width: int, height: int) -> None:
    """Rejects an image that is too large to decode.

    Raises:
        ValueError: The image has too many pixels.
    """
    if width * height > MAX_PIXELS:
        raise ValueError(f"too many pixels: {width} x {height}; at most {MAX_PIXELS} are allowed")


def _size(content: bytes) -> tuple[int, int]:
    """Returns width and height from the header; zeros if it has none.

    Called for every photo of a request: Pillow parses the whole header and is ten times slower.
    """
    if content.startswith(b"\x89PNG"):
        if content[12:16] != b"IHDR":  # libpng skips other chunks; the size is not here
            raise ValueError(
                f"the PNG file begins with the chunk {content[12:16]!r} instead of IHDR"
            )
        return struct.unpack(">II", content[16:24]) if len(content) >= 24 else (0, 0)
    return frame_size(content)


def check_record(content: bytes) -> None:
    """Rejects bytes that are not a serialized tf.train.Example with an image.

    Raises:
        ValueError: The record is invalid. The message says why.
    """
    try:
        features = records.parse(content)
    except DecodeError:
        raise ValueError(
            "not a serialized tf.train.Example; send photos to signature_name serving_jpeg"
            if content.startswith(PHOTO_MAGIC)
            else "neither a serialized tf.train.Example nor a JPEG or PNG file: "
            f"it begins with {content[:8]!r}"
        ) from None
    image = features.get(records.IMAGE)
    if not isinstance(image, bytes):
        found = ", ".join(sorted(features)) or "none"
        raise ValueError(f"the record has no feature {records.IMAGE!r}; features: {found}")
    if image.startswith(PHOTO_MAGIC):
        check_photo(image)
