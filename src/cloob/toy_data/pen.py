"""Drawing in a unit square: shapes from the vocabulary, turned, scaled and mirrored onto a picture."""

import math
import random
from collections.abc import Callable, Iterable, Sequence

from PIL import Image, ImageChops, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Palette:
    """Colour names -> RGB, each shifted a little once per picture, so that no two reds are the same."""

    def __init__(
        self, colours: dict[str, list[int]], paint: str, rng: random.Random, spread: int = 22
    ) -> None:
        self._colours = colours
        self._paint = paint
        self._rng = rng
        self._spread = spread
        self._mixed: dict[str, Colour] = {}

    def __call__(self, name: str) -> Colour:
        """The picture's own shade of `name`; `paint` is the colour that its subject happens to have."""
        name = self._paint if name == "paint" else name
        if name not in self._mixed:
            shift = self._rng.randint(-self._spread, self._spread)
            red, green, blue = (
                min(255, max(0, value + shift + self._rng.randint(-8, 8))) for value in self._colours[name]
            )
            self._mixed[name] = (red, green, blue)
        return self._mixed[name]


class Pen:
    """Draws shapes given in a square of -1 to 1 (y downwards) around a center of the picture.

    Forms: `[polygon, colour, x,y, x,y, …]`, `[line, colour, width, x,y, x,y, …]`,
    `[oval, colour, x,y, rx,ry(, degrees)]`, `[ring, colour, width, x,y, r]`,
    `[sector, colour, x,y, r, from, to]` (degrees, clockwise from the right, 180–360 = upper half).
    """

    def __init__(
        self,
        canvas: Image.Image,
        palette: Callable[[str], Colour],
        center: Point,
        scale: Point,
        degrees: float = 0.0,
        overlay: Image.Image | None = None,
    ) -> None:
        """A negative horizontal scale mirrors; `overlay` (L, the canvas' size) whitens painted polygons."""
        self._canvas = canvas
        self._draw = ImageDraw.Draw(canvas)
        self._palette = palette
        self._overlay = overlay
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        self._map = (scale[0] * cos, -scale[1] * sin, center[0], scale[0] * sin, scale[1] * cos, center[1])
        self._thickness = math.sqrt(abs(scale[0] * scale[1]))

    def at(self, points: Iterable[Point]) -> list[Point]:
        """Points of the unit square -> points of the picture."""
        a, b, c, d, e, f = self._map
        return [(a * x + b * y + c, d * x + e * y + f) for x, y in points]

    def polygon(self, colour: str, points: Iterable[Point]) -> None:
        """A filled polygon."""
        outline = self.at(points)
        self._draw.polygon(outline, fill=self._palette(colour))
        if colour == "paint" and self._overlay is not None:
            mask = Image.new("L", self._canvas.size)
            ImageDraw.Draw(mask).polygon(outline, fill=255)
            self._canvas.paste(self._palette("white"), mask=ImageChops.multiply(mask, self._overlay))

    def line(self, colour: str, width: float, points: Iterable[Point]) -> None:
        """A line of the given width, with rounded ends and corners."""
        path = self.at(points)
        thick = max(2, round(width * self._thickness))
        fill = self._palette(colour)
        self._draw.line(path, fill=fill, width=thick, joint="curve")
        for x, y in (path[0], path[-1]):
            self._draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=fill)

    def oval(self, colour: str, x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> None:
        """A filled ellipse, turned by `degrees` around its own center."""
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        rim = ((rx * c, ry * s) for c, s in _CIRCLE)
        self.polygon(colour, [(x + p * cos - q * sin, y + p * sin + q * cos) for p, q in rim])

    def sector(self, colour: str, x: float, y: float, r: float, start: float, end: float) -> None:
        """A filled sector of a circle."""
        steps = [math.radians(start + (end - start) * step / 12) for step in range(13)]
        self.polygon(colour, [(x, y), *((x + r * math.cos(a), y + r * math.sin(a)) for a in steps)])

    def ring(self, colour: str, width: float, x: float, y: float, r: float) -> None:
        """A circle's rim."""
        self.line(colour, width, [(x + r * c, y + r * s) for c, s in (*_CIRCLE, _CIRCLE[0])])

    def shapes(self, listed: Iterable[Sequence[str | float]]) -> None:
        """Draw shapes as the vocabulary lists them, the first one at the back."""
        for form, colour, *numbers in listed:
            if form == "polygon":
                self.polygon(colour, _pairs(numbers))
            elif form == "line":
                self.line(colour, numbers[0], _pairs(numbers[1:]))
            else:
                {"oval": self.oval, "ring": self.ring, "sector": self.sector}[form](colour, *numbers)


_CIRCLE = [(math.cos(math.tau * step / 24), math.sin(math.tau * step / 24)) for step in range(24)]


def _pairs(numbers: Sequence[float]) -> list[Point]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))
