"""From a photo file to the features of its record: the one definition that every runner uses."""

from __future__ import annotations

import base64
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from data import records

if TYPE_CHECKING:  # a worker process needs NumPy for rare modes only, and starts sooner without it
    import numpy as np

MAX_PIXELS = 89_478_485
"""Larger images are refused as decompression bombs; Pillow's own limit for its warning."""

JPEG_QUALITY = 95
"""Of re-encoded photos, with full colour resolution: what is left of the loss is below a grey level
on average."""

_EXIF_ORIENTATION = 0x0112
_TURNED = range(2, 9)  # 1 is upright; the standard knows no others
_LIMIT = threading.Lock()
# Frame headers whose streams libjpeg, and so TensorFlow, decodes to 8-bit pixels: baseline,
# extended sequential and progressive, all Huffman coded (ITU T.81, table B.1).
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)


class BadPhotoError(Exception):
    """A photo that cannot become a record; the text is the reason a user reads."""


@dataclass(frozen=True)
class EncodeOptions:
    """How photos become records.

    Attributes:
        encoding: `raw` (base64 of the pixels) or `jpeg` (a JPEG file).
        exif: Turn photos upright as their EXIF orientation says.
        max_pixels: Photos with more pixels than this are refused.
    """

    encoding: str = records.RAW
    exif: bool = False
    max_pixels: int = MAX_PIXELS


def photo_features(content: bytes, options: EncodeOptions) -> dict[str, records.Value]:
    """The image features of one photo.

    The photo is always decoded whole, so that nothing broken gets through. Alpha is dropped, not
    blended, as TensorFlow's decoders do when a served model gets the same file.

    Args:
        content: The bytes of the file, in any format that Pillow reads.

    Returns:
        `image`, its height, width and channels (1 for grey modes, else 3), and for jpeg
        `image_encoding`.

    Raises:
        BadPhotoError: Not an image, broken, truncated, or too large; the cause is chained.
    """
    if not content:
        raise BadPhotoError("empty file")
    image, kept = _decoded(content, options)
    features = {
        records.IMAGE_HEIGHT: image.height,
        records.IMAGE_WIDTH: image.width,
        records.IMAGE_CHANNELS: len(image.getbands()),
    }
    if options.encoding == records.JPEG:
        features[records.IMAGE] = content if kept else _to_jpeg(image)
        features[records.IMAGE_ENCODING] = records.JPEG.encode()
    else:
        flat = image.tobytes()
        del image  # of a large photo, each copy less counts
        features[records.IMAGE] = base64.urlsafe_b64encode(flat)
    return features


def _decoded(content: bytes, options: EncodeOptions) -> tuple[Image.Image, bool]:
    """The photo in mode L or RGB, and whether `content` is a JPEG of just that."""
    opened = _open(content, options.max_pixels)
    try:
        opened.load()
        turned = options.exif and opened.getexif().get(_EXIF_ORIENTATION) in _TURNED
        image = to_grey_or_rgb(ImageOps.exif_transpose(opened) if turned else opened)
    except MemoryError:  # no fault of the photo's
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on broken files
        raise BadPhotoError("cannot be decoded") from error
    return image, not turned and image is opened and is_plain_jpeg(content)


def pixels(features: dict[str, records.Value]) -> np.ndarray:
    """The pixels of a record of either encoding.

    Returns:
        uint8, [height, width, channels].
    """
    import numpy as np

    image = features[records.IMAGE]
    if image.startswith(records.JPEG_MAGIC):
        decoded = np.asarray(Image.open(io.BytesIO(image)))
    else:
        decoded = np.frombuffer(base64.urlsafe_b64decode(image), np.uint8)
    return decoded.reshape(
        features[records.IMAGE_HEIGHT],
        features[records.IMAGE_WIDTH],
        features[records.IMAGE_CHANNELS],
    )


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB; itself where it is in one of them already.

    Samples of more than 8 bits keep their high byte. Floating-point samples are taken as 0-1 where
    all of them lie there, else as 0-255 with the rest cut off.
    """
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_samples(image)
    if image.mode in ("1", "LA", "La"):
        return (image.convert("LA") if image.mode == "La" else image).convert("L")
    if image.mode in ("P", "PA", "RGBa"):  # premultiplied and palette alpha, undone first
        image = image.convert("RGBA")
    return image.convert("RGB")


def _from_deep_samples(image: Image.Image) -> Image.Image:
    import numpy as np

    samples = np.asarray(image)
    if image.mode == "F":
        samples = np.nan_to_num(samples, nan=0.0)
        if samples.size and samples.min() >= 0 and samples.max() <= 1:
            samples = samples * 255
        return Image.fromarray(np.clip(np.rint(samples), 0, 255).astype(np.uint8))
    samples = np.clip(samples.astype(np.int64), 0, 65535)  # I, I;16 and its byte orders
    return Image.fromarray((samples >> 8).astype(np.uint8))


def is_plain_jpeg(content: bytes) -> bool:
    """Whether TensorFlow decodes these bytes as they are: a grey or three-colour 8-bit JPEG."""
    if not content.startswith(records.JPEG_MAGIC):
        return False
    at = 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, components = content[at + 4], content[at + 9]
            return marker in _HUFFMAN_FRAMES and precision == 8 and components in (1, 3)
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return False


def _open(content: bytes, max_pixels: int) -> Image.Image:
    try:
        with _pillow_allows(max_pixels), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked below, for every format
            opened = Image.open(io.BytesIO(content))
    except Image.DecompressionBombError as error:
        raise BadPhotoError("too many pixels") from error
    except Image.UnidentifiedImageError as error:
        raise BadPhotoError("not an image") from error
    except MemoryError:
        raise
    except Exception as error:
        raise BadPhotoError("cannot be decoded") from error
    if opened.width * opened.height > max_pixels:
        raise BadPhotoError(
            f"too many pixels: {opened.width} x {opened.height}, at most {max_pixels} are allowed"
        )
    return opened


@contextmanager
def _pillow_allows(max_pixels: int) -> Iterator[None]:
    """Lifts Pillow's own limit, which is one for the whole process, where a higher one is asked."""
    if max_pixels <= MAX_PIXELS:
        yield
        return
    with _LIMIT:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _to_jpeg(image: Image.Image) -> bytes:
    if max(image.size) > 65500:  # libjpeg's limit
        raise BadPhotoError(f"{image.width} x {image.height} does not fit in a JPEG (65500)")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
