"""Draw the shapes of the vocabulary onto an image, rotated, scaled and mirrored."""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from PIL import Image, ImageChops, ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]


class Palette:
    """Color names -> RGB, with a small random shift per image and color."""

    def __init__(
        self, colors: dict[str, list[int]], paint: str, rng: random.Random, spread: int = 22
    ) -> None:
        self._colors = colors
        self._paint = paint
        self._rng = rng
        self._spread = spread
        self._mixed: dict[str, Color] = {}

    def __call__(self, name: str) -> Color:
        """The image's shade of the color `name`; `paint` is the random color of its subject."""
        name = self._paint if name == "paint" else name
        if name not in self._mixed:
            shift = self._rng.randint(-self._spread, self._spread)
            red, green, blue = (
                min(255, max(0, value + shift + self._rng.randint(-8, 8))) for value in self._colors[name]
            )
            self._mixed[name] = (red, green, blue)
        return self._mixed[name]


class Pen:
    """Draws shapes whose coordinates are in [-1, 1] (y downwards) relative to a center and a scale.

    Forms: `[polygon, color, x,y, x,y, …]`, `[line, color, width, x,y, x,y, …]`,
    `[oval, color, x,y, rx,ry(, degrees)]`, `[ring, color, width, x,y, r]`,
    `[sector, color, x,y, r, from, to]` (degrees, clockwise from the right, 180–360 = upper half).
    """

    def __init__(
        self,
        canvas: Image.Image,
        palette: Callable[[str], Color],
        center: Point,
        scale: Point,
        degrees: float = 0.0,
        overlay: Image.Image | None = None,
    ) -> None:
        """A negative horizontal scale mirrors; `overlay` (mode L, size of the canvas) whitens polygons of
        color `paint`.
        """
        self._canvas = canvas
        self._draw = ImageDraw.Draw(canvas)
        self._palette = palette
        self._overlay = overlay
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        self._map = (scale[0] * cos, -scale[1] * sin, center[0], scale[0] * sin, scale[1] * cos, center[1])
        self._thickness = math.sqrt(abs(scale[0] * scale[1]))

    def to_pixels(self, points: Iterable[Point]) -> list[Point]:
        """Map coordinates of shapes to pixels."""
        a, b, c, d, e, f = self._map
        return [(a * x + b * y + c, d * x + e * y + f) for x, y in points]

    def polygon(self, color: str, points: Iterable[Point]) -> None:
        """Draw a filled polygon."""
        outline = self.to_pixels(points)
        self._draw.polygon(outline, fill=self._palette(color))
        if color == "paint" and self._overlay is not None:
            mask = Image.new("L", self._canvas.size)
            ImageDraw.Draw(mask).polygon(outline, fill=255)
            self._canvas.paste(self._palette("white"), mask=ImageChops.multiply(mask, self._overlay))

    def line(self, color: str, width: float, points: Iterable[Point]) -> None:
        """Draw a line with rounded ends and corners."""
        path = self.to_pixels(points)
        thick = max(2, round(width * self._thickness))
        fill = self._palette(color)
        self._draw.line(path, fill=fill, width=thick, joint="curve")
        for x, y in (path[0], path[-1]):
            self._draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=fill)

    def oval(self, color: str, x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> None:
        """Draw a filled ellipse, rotated by `degrees` around its center."""
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        rim = ((rx * c, ry * s) for c, s in _CIRCLE)
        self.polygon(color, [(x + p * cos - q * sin, y + p * sin + q * cos) for p, q in rim])

    def sector(self, color: str, x: float, y: float, r: float, start: float, end: float) -> None:
        """Draw a filled circular sector."""
        steps = [math.radians(start + (end - start) * step / 12) for step in range(13)]
        self.polygon(color, [(x, y), *((x + r * math.cos(a), y + r * math.sin(a)) for a in steps)])

    def ring(self, color: str, width: float, x: float, y: float, r: float) -> None:
        """Draw the outline of a circle."""
        self.line(color, width, [(x + r * c, y + r * s) for c, s in (*_CIRCLE, _CIRCLE[0])])

    def shapes(self, shapes: Iterable[Sequence[Any]]) -> None:
        """Draw shapes in the format of the vocabulary, from back to front."""
        draw: dict[str, Callable[..., None]] = {"oval": self.oval, "ring": self.ring, "sector": self.sector}
        for form, color, *numbers in shapes:
            if form == "polygon":
                self.polygon(color, _pairs(numbers))
            elif form == "line":
                self.line(color, numbers[0], _pairs(numbers[1:]))
            else:
                draw[form](color, *numbers)


_CIRCLE = [(math.cos(math.tau * step / 24), math.sin(math.tau * step / 24)) for step in range(24)]


def _pairs(numbers: Sequence[float]) -> list[Point]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))
