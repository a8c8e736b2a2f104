"""Draws animal faces whose kinds differ in the shape of ears, muzzle and eyes only.

Fur colours, backgrounds, pose and light are drawn from the same ranges for every kind, so single
pixels are not informative: a model has to recognise the shapes at any position.
"""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

_CANVAS = 224  # side of the square on which a face is drawn, then scaled, rotated and placed
_CENTRE = _CANVAS / 2

Colour = tuple[int, int, int]
Point = tuple[float, float]
Range = tuple[float, float]


class _Face:
    """The canvas and the colours of a face; methods measure in units of the head's radius."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.image = Image.new("RGBA", (_CANVAS, _CANVAS))
        self.pen = ImageDraw.Draw(self.image)
        self.radius = 58.0
        self.fur = _colour(rng, (0.0, 1.0), (0.05, 0.6), (0.25, 0.95))
        self.inner = _mixed(self.fur, (235, 160, 165), rng.uniform(0.4, 0.8))
        self.light = _mixed(self.fur, (255, 250, 240), rng.uniform(0.3, 0.7))
        self.dark = _mixed(self.fur, (20, 15, 15), rng.uniform(0.6, 0.9))
        self.width, self.height = rng.uniform(0.9, 1.12), rng.uniform(0.88, 1.08)

    def at(self, x: float, y: float) -> Point:
        """Returns the point on the canvas at an offset from the centre of the head."""
        return _CENTRE + x * self.radius * self.width, _CENTRE + 14 + y * self.radius * self.height

    def oval(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, turn: float = 0.0
    ) -> None:
        """Draws a filled ellipse, rotated by `turn` radians."""
        cos, sin = math.cos(turn), math.sin(turn)
        steps = [step * math.tau / 40 for step in range(40)]
        around = [(rx * math.cos(a), ry * math.sin(a)) for a in steps]
        self.polygon([(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in around], colour)

    def polygon(self, points: list[Point], colour: Colour) -> None:
        """Draws a filled polygon."""
        self.pen.polygon([self.at(*point) for point in points], fill=(*colour, 255))

    def line(self, points: list[Point], colour: Colour, width: int = 2) -> None:
        """Draws a line through points."""
        self.pen.line([self.at(*point) for point in points], fill=(*colour, 255), width=width)

    def head(self) -> None:
        """Draws the head, with a random patch."""
        self.oval(0, 0, 1.0, 0.95, self.fur)
        if self.rng.random() < 0.4:
            patch = _mixed(self.fur, self.rng.choice([self.light, self.dark]), 0.6)
            self.oval(self.rng.uniform(-0.6, 0.6), self.rng.uniform(-0.6, -0.1), 0.35, 0.3, patch)

    def eyes(self, *, slit: bool = False, size: float = 0.16, apart: float = 0.42) -> None:
        """Draws two eyes: round with a round pupil, or almond-shaped with a slit."""
        iris = _colour(self.rng, (0.05, 0.6), (0.4, 0.9), (0.5, 0.95)) if slit else (60, 40, 25)
        aside, up = self.rng.uniform(-0.05, 0.05), self.rng.uniform(-0.04, 0.04)
        for side in (-1, 1):
            x, y = side * apart, -0.15
            if slit:
                self.oval(x, y, size * 1.35, size * 0.85, iris, turn=side * -0.35)
                self.oval(x + aside, y, size * 0.25, size * 0.8, (10, 10, 10))
            else:
                self.oval(x, y, size, size, (245, 245, 240))
                self.oval(x + aside, y + up, size * 0.75, size * 0.75, iris)
                self.oval(x + aside, y + up, size * 0.4, size * 0.4, (10, 10, 10))
            self.oval(x + aside + 0.05, y - 0.06, 0.04, 0.04, (255, 255, 255))

    def whiskers(self) -> None:
        """Draws three long hairs on each side."""
        colour = self.rng.choice([(245, 245, 245), (30, 30, 30)])
        for side in (-1, 1):
            for slope in (-0.16, 0.0, 0.16):
                bend = slope + self.rng.uniform(-0.05, 0.05)
                self.line([(side * 0.25, 0.35), (side * 1.15, 0.32 + bend)], colour)

    def mouth(self, y: float, width: float = 0.2) -> None:
        """Draws two arcs below the nose."""
        for side in (-1, 1):
            arc = [(side * width * t, y + 0.1 * math.sin(math.pi * t)) for t in (0, 0.25, 0.5, 1)]
            self.line(arc, self.dark, 3)


def _cat(face: _Face) -> None:
    lean = face.rng.uniform(-0.1, 0.1)
    for side in (-1, 1):
        tip = (side * (0.78 + lean * side), -1.5 + face.rng.uniform(-0.1, 0.1))
        face.polygon([(side * 0.98, -0.25), tip, (side * 0.2, -0.85)], face.fur)
        face.polygon(
            [(side * 0.86, -0.45), (tip[0], tip[1] + 0.2), (side * 0.38, -0.8)], face.inner
        )
    face.head()
    face.eyes(slit=True, size=0.17)
    if face.rng.random() < 0.5:
        for x in (-0.22, 0.0, 0.22):
            face.line([(x, -0.9), (x * 0.7, -0.55)], face.dark, 4)
    face.polygon([(-0.1, 0.2), (0.1, 0.2), (0, 0.32)], face.inner)
    face.mouth(0.34)
    face.whiskers()


def _dog(face: _Face) -> None:
    hang = face.rng.uniform(0.25, 0.55)
    ear = _mixed(face.fur, face.dark, face.rng.uniform(0.2, 0.7))
    face.head()
    for side in (-1, 1):
        face.oval(side * 0.98, hang - 0.3, 0.27, 0.68, ear, turn=side * -0.2)
    face.eyes(size=0.14, apart=0.36)
    face.oval(0, 0.45, 0.45, 0.42, face.light)
    if face.rng.random() < 0.5:
        face.oval(0, 0.85, 0.14, 0.25, (225, 95, 110))
    face.oval(0, 0.26, 0.2, 0.14, (25, 20, 20))
    face.mouth(0.52, 0.25)


def _rabbit(face: _Face) -> None:
    for side in (-1, 1):
        lean = side * (0.12 + face.rng.uniform(0, 0.25))
        face.oval(side * 0.38 + lean, -1.25, 0.2, 0.72, face.fur, turn=lean)
        face.oval(side * 0.38 + lean, -1.2, 0.1, 0.55, face.inner, turn=lean)
    face.head()
    face.eyes(size=0.15, apart=0.5)
    face.oval(0, 0.22, 0.09, 0.06, face.inner)
    face.mouth(0.32)
    face.polygon([(-0.1, 0.44), (0.1, 0.44), (0.1, 0.68), (-0.1, 0.68)], (250, 250, 245))


def _bear(face: _Face) -> None:
    for side in (-1, 1):
        face.oval(side * 0.75, -0.75, 0.34, 0.34, face.fur)
        face.oval(side * 0.75, -0.75, 0.19, 0.19, face.inner)
    face.head()
    face.eyes(size=0.1, apart=0.35)
    face.oval(0, 0.35, 0.38, 0.32, face.light)
    face.oval(0, 0.2, 0.16, 0.1, (25, 20, 20))
    face.mouth(0.42)


def _mouse(face: _Face) -> None:
    for side in (-1, 1):
        face.oval(side * 0.85, -0.8, 0.55, 0.55, face.fur)
        face.oval(side * 0.85, -0.8, 0.4, 0.4, face.inner)
    face.head()
    face.eyes(size=0.11, apart=0.3)
    face.oval(0, 0.4, 0.1, 0.09, face.inner)
    face.whiskers()


def _pig(face: _Face) -> None:
    for side in (-1, 1):
        ear = [(side * 0.9, -0.35), (side * 1.05, -1.0), (side * 0.35, -0.85)]
        face.polygon(ear, _mixed(face.fur, face.dark, 0.3))
    face.head()
    face.eyes(size=0.1, apart=0.45)
    face.oval(0, 0.3, 0.38, 0.28, face.inner)
    for side in (-1, 1):
        face.oval(side * 0.14, 0.3, 0.07, 0.12, face.dark)
    face.mouth(0.65, 0.25)


KINDS: dict[str, Callable[[_Face], None]] = {
    "cat": _cat,
    "dog": _dog,
    "rabbit": _rabbit,
    "bear": _bear,
    "mouse": _mouse,
    "pig": _pig,
}
"""The faces that can be drawn."""


def draw_face(kind: str, size: int, rng: random.Random) -> Image.Image:
    """Draws a face on a background, with random place, pose, light and noise.

    Args:
        kind: One of `KINDS`.
        size: Approximate length of the sides in pixels; each varies by 15 %.
        rng: Source of all randomness.

    Returns:
        The image in mode RGB.
    """
    width, height = (round(size * rng.uniform(0.85, 1.15)) for _ in range(2))
    noise = np.random.default_rng(rng.getrandbits(64))
    image = _background(width, height, rng)
    face = _Face(rng)
    KINDS[kind](face)
    drawn = face.image
    if rng.random() < 0.5:
        drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = min(width, height) * rng.uniform(0.6, 1.05) / _CANVAS
    drawn = drawn.rotate(rng.gauss(0, 18), Image.Resampling.BICUBIC, expand=True)
    drawn = drawn.resize(
        (round(drawn.width * scale), round(drawn.height * scale)), Image.Resampling.LANCZOS
    )
    free_x, free_y = width - drawn.width, height - drawn.height
    place = (
        round(free_x / 2 + rng.uniform(-0.16, 0.16) * width),
        round(free_y / 2 + rng.uniform(-0.16, 0.16) * height),
    )
    image.paste(drawn, place, drawn)
    image = ImageChops.multiply(image, _light(width, height, rng))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.9)))
    grain = noise.normal(0, rng.uniform(2, 14), (height, width, 1))
    pixels = np.asarray(image, np.float32) * rng.uniform(0.8, 1.25) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _background(width: int, height: int, rng: random.Random) -> Image.Image:
    """Draws a gradient between two colours with ellipses, bars and boxes on it."""
    first, second = (_colour(rng, (0, 1), (0.05, 0.8), (0.15, 0.95)) for _ in range(2))
    ramp = Image.linear_gradient("L").rotate(rng.choice([0, 90, 180, 270])).resize((width, height))
    size = (width, height)
    image = Image.composite(Image.new("RGB", size, first), Image.new("RGB", size, second), ramp)
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randrange(3, 12)):
        colour = _colour(rng, (0, 1), (0.05, 0.8), (0.15, 0.95))
        x, y = rng.uniform(-0.2, 1) * width, rng.uniform(-0.2, 1) * height
        w, h = rng.uniform(0.05, 0.5) * width, rng.uniform(0.05, 0.5) * height
        box = (x, y, x + w, y + h)
        shape = rng.randrange(4)
        if shape == 0:
            pen.ellipse(box, fill=colour)
        elif shape == 1:
            pen.rectangle(box, fill=colour)
        elif shape == 2:
            pen.line(box, fill=colour, width=rng.randrange(2, 12))
        else:
            pen.polygon([(x, y + h), (x + w / 2, y), (x + w, y + h)], fill=colour)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3)))


def _light(width: int, height: int, rng: random.Random) -> Image.Image:
    """Draws a tinted slope from shade to light, to multiply an image with."""
    angle, depth = rng.uniform(0, math.tau), rng.uniform(0.0, 0.5)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope = (x * math.cos(angle) + y * math.sin(angle) + 1.42) / 2.84
    tint = np.array([rng.uniform(0.88, 1.0) for _ in range(3)], np.float32)
    shade = (1 - depth + depth * slope)[:, :, None] * tint * 255
    return Image.fromarray(shade.astype(np.uint8))


def _colour(rng: random.Random, hue: Range, saturation: Range, value: Range) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(
        rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value)
    )
    return round(red * 255), round(green * 255), round(blue * 255)


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
