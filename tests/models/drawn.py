"""Drawn photos and their records, for tests that need no files of the user's."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, ImageDraw

from data.record import records

LABELS = ("disc", "square")


def drawing(label: int, seed: int, size: tuple[int, int] = (90, 70)) -> Image.Image:
    """A disc (0) or a square (1) of a random colour on a noisy ground."""
    random = np.random.default_rng((seed, label))
    ground = random.integers(0, 90, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(ground)
    radius = int(random.integers(18, 30))
    x, y = random.integers(30, size[0] - 30), random.integers(30, size[1] - 30)
    colour = tuple(int(value) for value in random.integers(150, 256, 3))
    draw = ImageDraw.Draw(image)
    shape = draw.ellipse if label == 0 else draw.rectangle
    shape((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def raw(pixels: np.ndarray) -> bytes:
    """Pixels as TFRecorder keeps them."""
    return base64.urlsafe_b64encode(pixels.tobytes())


def record(content: bytes, encoding: str, label: int | None) -> bytes:
    """A serialised record of a JPEG file, in either encoding."""
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    height, width, channels = pixels.shape
    features = {
        records.IMAGE: content if encoding == records.JPEG else raw(pixels),
        records.IMAGE_HEIGHT: height,
        records.IMAGE_WIDTH: width,
        records.IMAGE_CHANNELS: channels,
        records.IMAGE_NAME: b"drawing.jpg",
        records.SPLIT: b"TRAIN",
    }
    if encoding == records.JPEG:
        features[records.IMAGE_ENCODING] = b"jpeg"
    if label is not None:
        features[records.LABEL] = label
    return records.serialize(features)


def photos(count: int, seed: int = 0) -> list[tuple[bytes, int]]:
    """`count` JPEG files with their labels, the classes in turn."""
    return [(jpeg(drawing(i % 2, seed + i)), i % 2) for i in range(count)]
