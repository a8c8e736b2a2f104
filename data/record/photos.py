"""From a photo file to the features of its record: the one definition that every runner uses."""

from __future__ import annotations

import base64
import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from data.record import records

if TYPE_CHECKING:  # a worker process needs NumPy for rare modes only, and starts sooner without it
    import numpy as np

MAX_PIXELS = 89_478_485
"""Larger images are refused as decompression bombs; Pillow's own limit for its warning."""

JPEG_QUALITY = 95
"""Of re-encoded photos, with full colour resolution: what is left of the loss is below a grey level
on average."""

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Pillow's names of the formats that are read. It opens others too: EPS would start Ghostscript."""

# What a file begins with that is a picture of some other format: offset, bytes, name.
_UNREAD = (
    (0, b"%!PS", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "PSD"),
    (0, b"<svg", "SVG"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
)

_EXIF_ORIENTATION = 0x0112
_TURNS = {  # 1 is upright; the standard knows no others
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_END = b"\xff\xd9"
_SAMPLE_BITS = (8, 12, 16)
_FLOAT_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.0, 65535.0))
_ROWS = 256
_NEARLY = 8  # grey levels that count as black, and as white
_BLANK_SHARE = 0.99
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


AS_TRAINED = EncodeOptions(records.JPEG, exif=True)
"""How a photo is prepared that a model is asked about: as those of its training."""


def photo_features(
    content: bytes, options: EncodeOptions, blank: Callable[[], None] | None = None
) -> dict[str, records.Value]:
    """The image features of one photo.

    The photo is always decoded whole, so that nothing broken gets through. Alpha is dropped, not
    blended, as TensorFlow's decoders do when a served model gets the same file.

    Args:
        content: The bytes of the file, in one of `FORMATS`.
        options: How it becomes a record.
        blank: Called where the picture is all but black or white.

    Returns:
        `image`, its height, width and channels (1 for grey modes, else 3), and for jpeg
        `image_encoding`.

    Raises:
        BadPhotoError: Not an image, broken, truncated, or too large; the cause is chained.
    """
    if not content:
        raise BadPhotoError("empty file")
    image, kept = _decoded(content, options)
    if blank and _is_blank(image):
        blank()
    jpeg = plain_jpeg(content) if kept and options.encoding == records.JPEG else None
    features = {
        records.IMAGE_HEIGHT: image.height,
        records.IMAGE_WIDTH: image.width,
        records.IMAGE_CHANNELS: len(image.getbands()),
    }
    if options.encoding == records.JPEG:
        features[records.IMAGE] = jpeg or _to_jpeg(image)
        features[records.IMAGE_ENCODING] = records.JPEG.encode()
    else:
        flat = image.tobytes()
        del image  # of a large photo, each copy less counts
        features[records.IMAGE] = base64.urlsafe_b64encode(flat)
    return features


def _decoded(content: bytes, options: EncodeOptions) -> tuple[Image.Image, bool]:
    """The photo in mode L or RGB, and whether its pixels are those of the file."""
    opened = _open(content, options.max_pixels)
    try:
        opened.load()
        turn = _TURNS.get(_orientation(opened)) if options.exif else None
        image = to_grey_or_rgb(opened if turn is None else opened.transpose(turn))
    except MemoryError:  # no fault of the photo's
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on broken files
        raise BadPhotoError("cannot be decoded") from error
    return image, image is opened


def _is_blank(image: Image.Image) -> bool:
    """Whether all but a few of the pixels are black, or white: told from a few of them."""
    counts = image.resize((32, 32), Image.Resampling.NEAREST).convert("L").histogram()
    return max(sum(counts[:_NEARLY]), sum(counts[-_NEARLY:])) > _BLANK_SHARE * sum(counts)


def _orientation(opened: Image.Image) -> int | None:
    """What EXIF says; None where it cannot be read: the pixels are good all the same."""
    try:
        return opened.getexif().get(_EXIF_ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # Pillow raises nearly anything on broken tags
        return None


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

    Samples of more than 8 bits keep the picture's range. Whole numbers are taken as 8, 12 or 16
    bits, whichever is the first that holds all of the picture's samples, and keep the high 8 of
    these. Floating-point samples are taken as 0 to 1, -1 to 1, 0 to 255 or 0 to 65535, likewise.
    Where none of these holds all samples, the range is from the least to the greatest.
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

    whole = image.mode != "F"  # I, I;16 and its byte orders
    ranges = [(0, 2**bits - 1) for bits in _SAMPLE_BITS] if whole else _FLOAT_RANGES
    least, greatest = _extrema(image)
    holding = (r for r in ranges if r[0] <= least and greatest <= r[1])
    low, high = next(holding, (least, greatest))
    # The high 8 bits of whole numbers, as TensorFlow's decoders have them.
    factor, spare = (256 / (high + 1 - low), 0) if whole else (255 / ((high - low) or 1), 0.5)
    grey = Image.new("L", image.size)
    for number, strip in enumerate(_strips(image)):
        kept = np.clip(np.nan_to_num(strip.astype(np.float64), nan=low), low, high)
        part = np.floor((kept - low) * factor + spare).astype(np.uint8)
        grey.paste(Image.fromarray(part), (0, number * _ROWS))
    return grey


def _extrema(image: Image.Image) -> tuple[float, float]:
    """The least and the greatest finite sample; zeros where there is none."""
    import numpy as np

    finite = (strip[np.isfinite(strip)] for strip in _strips(image))
    found = [(float(strip.min()), float(strip.max())) for strip in finite if strip.size]
    return (min(low for low, _ in found), max(high for _, high in found)) if found else (0, 0)


def _strips(image: Image.Image) -> Iterator[np.ndarray]:
    """The samples of some rows at a time: whole copies would take many bytes a pixel."""
    import numpy as np

    for top in range(0, image.height, _ROWS):
        yield np.asarray(image.crop((0, top, image.width, min(top + _ROWS, image.height))))


def plain_jpeg(content: bytes) -> bytes | None:
    """The JPEG within these bytes that TensorFlow decodes as it is; None where there is none.

    A grey or three-colour 8-bit JPEG up to its last end marker. Cameras write further things after
    it, which TensorFlow does not read; without the marker it refuses a picture that Pillow opens.
    """
    if not content.startswith(records.JPEG_MAGIC):
        return None
    at, plain = 2, False
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xDA:  # the scan
            end = content.rfind(_END, at)
            return content[: end + 2] if plain and end > 0 else None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, components = content[at + 4], content[at + 9]
            plain = marker in _HUFFMAN_FRAMES and precision == 8 and components in (1, 3)
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def _open(content: bytes, max_pixels: int) -> Image.Image:
    try:
        with _pillow_allows(max_pixels), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked below, for every format
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadPhotoError("too many pixels") from error
    except Image.UnidentifiedImageError as error:
        raise BadPhotoError(_unread(content)) from error
    except MemoryError:
        raise
    except Exception as error:
        raise BadPhotoError("cannot be decoded") from error
    if opened.width * opened.height > max_pixels:
        raise BadPhotoError(
            f"too many pixels: {opened.width} x {opened.height}, at most {max_pixels} are allowed"
        )
    return opened


def _unread(content: bytes) -> str:
    """The reason why a file of no format in `FORMATS` is refused."""
    for at, magic, name in _UNREAD:
        if content[at:].startswith(magic):
            return f"{name} files are not read: convert them to JPEG or PNG"
    return "not an image"


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
