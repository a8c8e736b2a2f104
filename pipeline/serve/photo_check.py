"""What can be said about a photo or a record before the model sees it."""

from __future__ import annotations

import re
import struct

from google.protobuf.message import DecodeError

from data.record import records
from data.record.photos import AS_TRAINED, FORMATS, MAX_PIXELS, BadPhotoError, photo_features

PHOTO_MAGIC = (b"\xff\xd8\xff", b"\x89PNG")
# As libjpeg looks for them: what is no marker, or one without a length, is passed over.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")


def check_photo(content: bytes) -> None:
    """Refuses a JPEG or PNG that would take all memory decoded.

    Raises:
        ValueError: too many pixels. Any other broken file is left to the model, which decodes it
            anyway.
    """
    check_size(*_size(content))


def is_native(photo: bytes) -> bool:
    """Whether a photo needs no `as_jpeg`: the model decodes its format."""
    return photo.startswith(PHOTO_MAGIC)


def as_jpeg(photo: bytes) -> bytes:
    """A photo of another format as the model takes it. This may take seconds.

    Raises:
        ValueError: it is empty, no photo of a format that is read, or has too many pixels.
    """
    if not photo:
        raise ValueError("the photo is empty")
    try:
        return photo_features(photo, AS_TRAINED)[records.IMAGE]
    except BadPhotoError as error:
        raise ValueError(
            f"{error}; it begins with {photo[:8]!r}, and {', '.join(FORMATS)} are taken"
        ) from None


def check_size(width: int, height: int) -> None:
    """Refuses an image that would take all memory.

    Raises:
        ValueError: it has too many pixels.
    """
    if width * height > MAX_PIXELS:
        raise ValueError(f"too many pixels: {width} x {height}, at most {MAX_PIXELS} are allowed")


def _size(content: bytes) -> tuple[int, int]:
    """Width and height as the header says; zeros where it says nothing.

    Of every request this is asked; Pillow, which reads all of the header, takes ten times as long.
    """
    if content.startswith(b"\x89PNG"):
        if content[12:16] != b"IHDR":  # libpng reads past others, and the size is not here
            raise ValueError(f"a PNG file that begins with {content[12:16]!r} instead of IHDR")
        return struct.unpack(">II", content[16:24]) if len(content) >= 24 else (0, 0)
    at = 2
    while found := _MARKER.search(content, at):
        marker, at = found[1][0], found.end()
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame (ITU T.81)
            height, width = struct.unpack(">HH", content[at + 3 : at + 7].ljust(4, b"\0"))
            return width, height
        at += int.from_bytes(content[at : at + 2], "big")
    return 0, 0


def check_record(content: bytes) -> None:
    """Refuses bytes that are no serialised tf.Example with an image.

    Raises:
        ValueError: why.
    """
    try:
        features = records.parse(content)
    except DecodeError:
        raise ValueError(
            "not a serialised tf.Example; a photo's bytes go to signature_name serving_jpeg"
            if content.startswith(PHOTO_MAGIC)
            else "not a serialised tf.Example, nor a JPEG or PNG file: "
            f"it begins with {content[:8]!r}"
        ) from None
    image = features.get(records.IMAGE)
    if not isinstance(image, bytes):
        found = ", ".join(sorted(features)) or "none"
        raise ValueError(f"the record has no feature {records.IMAGE!r}; it has {found}")
    if image.startswith(PHOTO_MAGIC):
        check_photo(image)
