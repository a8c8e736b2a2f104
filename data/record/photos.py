"""Photo files to the image features of a record, the same on every runner."""

from __future__ import annotations

import base64
import io
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from data.record import records
from data.record.jpeg import plain_jpeg

if TYPE_CHECKING:  # workers need NumPy for rare modes only, and start faster without it
    import numpy as np
    from numpy.typing import NDArray

MAX_PIXELS = 89_478_485
"""Most pixels of an image; above this, Pillow warns of a decompression bomb."""

JPEG_QUALITY = 95
"""Quality of re-encoded photos, with full colour resolution; the loss averages below one level."""

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""The formats that are read, by Pillow's names. Others are excluded: EPS would run Ghostscript."""

# Signatures of unsupported formats: offset, bytes, name.
_UNSUPPORTED = (
    (0, b"%!PS", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "PSD"),
    (0, b"<svg", "SVG"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
)

_EXIF_ORIENTATION = 0x0112
_TRANSPOSES = {  # 1 is upright; the standard defines no others
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAMPLE_BITS = (8, 12, 16)
_FLOAT_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.0, 65535.0))
_STRIP_ROWS = 256
_NEAR_LEVELS = 8  # grey levels that count as black, and as white
_BLANK_SHARE = 0.99
_PILLOW_LIMIT = threading.Lock()


class BadPhotoError(Exception):
    """A photo cannot become a record; the text is the reason for the user."""


@dataclass(frozen=True)
class EncodeOptions:
    """How photos are encoded in records.

    Attributes:
        encoding: `raw` (base64 of the pixels) or `jpeg` (a JPEG file).
        exif: Turn photos upright by their EXIF orientation.
        max_pixels: Refuse photos with more pixels.
    """

    encoding: str = records.RAW
    exif: bool = False
    max_pixels: int = MAX_PIXELS


AS_TRAINED = EncodeOptions(records.JPEG, exif=True)
"""How a photo is prepared for prediction, as for training."""


def photo_features(
    content: bytes, options: EncodeOptions, on_blank: Callable[[], None] | None = None
) -> dict[str, records.Value]:
    """Computes the image features of a photo.

    The photo is always decoded completely, which finds broken ones. Alpha is dropped, not blended,
    as TensorFlow's decoders do when a served model receives the same file.

    Args:
        content: The content of the file, in one of `FORMATS`.
        options: How to encode it.
        on_blank: Called if the image is nearly all black or white.

    Returns:
        `image` (bytes), `image_height`, `image_width` and `image_channels` (1 for grey, else 3),
        and with `jpeg` also `image_encoding`.

    Raises:
        BadPhotoError: Not an image, broken, truncated, or too large; the cause is chained.

    Example:
        ```python
        from pathlib import Path

        from data.record.photos import AS_TRAINED, photo_features

        features = photo_features(Path("cat.png").read_bytes(), AS_TRAINED)
        ```
    """
    if not content:
        raise BadPhotoError("empty file")
    image, kept = _decoded(content, options)
    if on_blank and _is_blank(image):
        on_blank()
    features: dict[str, records.Value] = {
        records.IMAGE_HEIGHT: image.height,
        records.IMAGE_WIDTH: image.width,
        records.IMAGE_CHANNELS: len(image.getbands()),
    }
    if options.encoding == records.JPEG:
        features[records.IMAGE] = (plain_jpeg(content) if kept else None) or _to_jpeg(image)
        features[records.IMAGE_ENCODING] = records.JPEG.encode()
    else:
        flat = image.tobytes()
        del image  # bounds the memory for a large photo
        features[records.IMAGE] = base64.urlsafe_b64encode(flat)
    return features


def _decoded(content: bytes, options: EncodeOptions) -> tuple[Image.Image, bool]:
    """Decodes a photo to mode L or RGB; the flag says whether its pixels are those of the file."""
    opened = _open(content, options.max_pixels)
    try:
        opened.load()
        transpose = _TRANSPOSES.get(_orientation(opened)) if options.exif else None
        image = to_grey_or_rgb(opened if transpose is None else opened.transpose(transpose))
    except MemoryError:  # not a fault of the photo
        raise
    except Exception as error:  # Pillow's plugins raise any type on broken files
        raise BadPhotoError("cannot be decoded") from error
    return image, image is opened


def _is_blank(image: Image.Image) -> bool:
    """Whether nearly all of a sample of the pixels are black, or white."""
    counts = image.resize((32, 32), Image.Resampling.NEAREST).convert("L").histogram()
    most = max(sum(counts[:_NEAR_LEVELS]), sum(counts[-_NEAR_LEVELS:]))
    return most > _BLANK_SHARE * sum(counts)


def _orientation(opened: Image.Image) -> Any:
    """Reads the EXIF orientation; None if the tags are broken, which leaves the pixels valid."""
    try:
        return opened.getexif().get(_EXIF_ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # Pillow raises any type on broken tags
        return None


def pixels(features: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Decodes the image of a record of either encoding.

    Args:
        features: The features of the record, as `data.record.records.parse` returns them.

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
    """Converts an image to mode L or RGB; returns it unchanged if it has one of these.

    Samples of more than 8 bits are scaled from the range of the image. For whole numbers this is
    the first of 8, 12 and 16 bits that holds all samples, of which the high 8 bits are kept; for
    floating-point samples the first of 0 to 1, -1 to 1, 0 to 255 and 0 to 65535. If none holds all
    samples, the range is from the minimum to the maximum.
    """
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_samples(image)
    if image.mode in ("1", "LA", "La"):
        return (image.convert("LA") if image.mode == "La" else image).convert("L")
    if image.mode in ("P", "PA", "RGBa"):  # undoes premultiplied and palette alpha
        image = image.convert("RGBA")
    return image.convert("RGB")


def _from_deep_samples(image: Image.Image) -> Image.Image:
    import numpy as np

    whole = image.mode != "F"  # I, I;16 and its byte orders
    ranges = [(0, 2**bits - 1) for bits in _SAMPLE_BITS] if whole else _FLOAT_RANGES
    least, greatest = _extrema(image)
    fitting = (r for r in ranges if r[0] <= least and greatest <= r[1])
    low, high = next(fitting, (least, greatest))
    # The high 8 bits of whole numbers, as in TensorFlow's decoders.
    factor, offset = (256 / (high + 1 - low), 0) if whole else (255 / ((high - low) or 1), 0.5)
    grey = Image.new("L", image.size)
    for number, strip in enumerate(_strips(image)):
        kept = np.clip(np.nan_to_num(strip.astype(np.float64), nan=low), low, high)
        part = np.floor((kept - low) * factor + offset).astype(np.uint8)
        grey.paste(Image.fromarray(part), (0, number * _STRIP_ROWS))
    return grey


def _extrema(image: Image.Image) -> tuple[float, float]:
    """Returns the minimum and maximum of the finite samples; zeros if there are none."""
    import numpy as np

    finite = (strip[np.isfinite(strip)] for strip in _strips(image))
    found = [(float(strip.min()), float(strip.max())) for strip in finite if strip.size]
    return (min(low for low, _ in found), max(high for _, high in found)) if found else (0, 0)


def _strips(image: Image.Image) -> Iterator[NDArray[Any]]:
    """Yields the samples of some rows at a time, which bounds the memory of the copies."""
    import numpy as np

    for top in range(0, image.height, _STRIP_ROWS):
        yield np.asarray(image.crop((0, top, image.width, min(top + _STRIP_ROWS, image.height))))


def _open(content: bytes, max_pixels: int) -> Image.Image:
    try:
        with _pillow_allows(max_pixels), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked below for every format
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadPhotoError("too many pixels") from error
    except Image.UnidentifiedImageError as error:
        raise BadPhotoError(_unsupported(content)) from error
    except MemoryError:
        raise
    except Exception as error:
        raise BadPhotoError("cannot be decoded") from error
    if opened.width * opened.height > max_pixels:
        raise BadPhotoError(
            f"too many pixels: {opened.width} x {opened.height}, at most {max_pixels} are allowed"
        )
    return opened


def _unsupported(content: bytes) -> str:
    """Returns why a file with none of the `FORMATS` is refused."""
    for offset, magic, name in _UNSUPPORTED:
        if content[offset:].startswith(magic):
            return f"{name} files are not read: convert them to JPEG or PNG"
    return "not an image"


@contextmanager
def _pillow_allows(max_pixels: int) -> Iterator[None]:
    """Raises Pillow's limit, which is global to the process, if `max_pixels` is higher."""
    if max_pixels <= MAX_PIXELS:
        yield
        return
    with _PILLOW_LIMIT:
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
