"""Draw birds and flowers from a few properties of the species instead of from lists of shapes."""

import math
import random
from typing import Any

from cloob.toy_data.pen import Pen


def draw_bird(pen: Pen, bird: dict[str, Any], rng: random.Random) -> None:
    """Draw a bird that faces right; birds.yaml explains the builds."""
    {"owl": _owl, "wader": _wader, "duck": _duck}.get(bird["build"], _songbird)(pen, bird, rng)


def _songbird(pen: Pen, bird: dict[str, Any], rng: random.Random) -> None:
    tail = rng.uniform(0.3, 0.6)
    pen.polygon(bird["wing"], [(-0.4, 0.1), (-1.0, tail), (-0.85, tail + 0.2), (-0.3, 0.4)])
    for x in (-0.05, 0.15):
        pen.line("brown", 0.05, [(x, 0.5), (x + rng.uniform(-0.05, 0.05), 0.92)])
    pen.oval(bird["body"], 0, 0.15, 0.58, 0.45, -20)
    pen.oval(bird["belly"], 0.12, 0.3, 0.38, 0.27, -25)
    pen.oval(bird["head"], 0.45, -0.35, 0.34, 0.32)
    if bird["build"] == "crested":
        pen.polygon(bird["head"], [(0.2, -0.5), (0.15, -1.0), (0.6, -0.6)])
    length = 1.15 if bird["build"] == "tiny" else 0.98
    pen.polygon(bird["bill"], [(0.72, -0.45), (length, -0.3), (0.72, -0.22)])
    lift = rng.uniform(-0.25, 0.15)
    pen.polygon(bird["wing"], [(0.2, -0.05), (-0.1, 0.4), (-0.75, 0.25 + lift), (-0.4, -0.05 + lift)])
    _eye(pen, 0.52, -0.42, 0.07)


def _owl(pen: Pen, bird: dict[str, Any], rng: random.Random) -> None:
    pen.oval(bird["body"], 0, 0.25, 0.58, 0.7)
    pen.oval(bird["belly"], 0, 0.4, 0.36, 0.48)
    spread = rng.uniform(0.5, 0.65)
    pen.oval(bird["wing"], -spread, 0.3, 0.17, 0.5, 10)
    pen.oval(bird["wing"], spread, 0.3, 0.17, 0.5, -10)
    pen.oval(bird["head"], 0, -0.45, 0.55, 0.45)
    for x in (-0.22, 0.22):
        pen.oval("yellow", x, -0.48, 0.18, 0.18)
        pen.oval("black", x, -0.48, 0.09, 0.09)
    pen.polygon(bird["bill"], [(-0.08, -0.35), (0.08, -0.35), (0, -0.12)])


def _wader(pen: Pen, bird: dict[str, Any], rng: random.Random) -> None:
    bend = rng.uniform(-0.1, 0.15)
    for x in (-0.2, 0.05):
        pen.line(bird["bill"], 0.06, [(x, 0.25), (x + bend, 0.6), (x, 0.97)])
    pen.oval(bird["body"], -0.1, 0.05, 0.52, 0.3, -10)
    pen.oval(bird["wing"], -0.3, 0.05, 0.42, 0.2, -5)
    pen.line(bird["head"], 0.15, [(0.3, -0.05), (0.55, -0.35), (0.3, -0.6), (0.45, -0.8)])
    pen.oval(bird["head"], 0.48, -0.82, 0.18, 0.14)
    pen.polygon(bird["bill"], [(0.6, -0.9), (0.98, -0.65), (0.6, -0.74)])
    _eye(pen, 0.52, -0.84, 0.04)


def _duck(pen: Pen, bird: dict[str, Any], rng: random.Random) -> None:
    pen.oval("blue", 0, 0.6, 0.98, 0.25)
    pen.polygon(
        bird["body"], [(-0.98, rng.uniform(-0.1, 0.15)), (0.5, 0.1), (0.7, 0.45), (0.4, 0.7), (-0.6, 0.7)]
    )
    pen.oval(bird["wing"], -0.2, 0.35, 0.45, 0.22, 8)
    pen.line(bird["belly"], 0.2, [(0.5, 0.25), (0.52, 0.05)])
    pen.oval(bird["head"], 0.55, -0.2, 0.28, 0.32)
    pen.polygon(bird["bill"], [(0.78, -0.25), (1.05, -0.1), (0.75, -0.02)])
    _eye(pen, 0.6, -0.28, 0.06)


def _eye(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.oval("white", x, y, radius, radius)
    pen.oval("black", x, y, radius * 0.6, radius * 0.6)


def draw_flower(pen: Pen, flower: dict[str, Any], rng: random.Random) -> None:
    """Draw a flower from the front, with stalk and leaf; flowers.yaml explains the keys."""
    pen.line("green", 0.12, [(0, 0), (rng.uniform(-0.2, 0.2), 1.3)])
    pen.oval("green", rng.choice((-0.3, 0.3)), 1.0, 0.3, 0.12, rng.uniform(-30, 30))
    turn = rng.uniform(0, 360)
    for ring in range(flower["rings"]):
        reach = 0.95 * (1 - 0.27 * ring)
        shade = flower["petal"] if ring % 2 == 0 else _INNER_RING_COLORS.get(flower["petal"], flower["petal"])
        for petal in range(flower["petals"]):
            degrees = turn + 360 * (petal + 0.5 * ring) / flower["petals"]
            _petal(pen, flower["form"], shade, degrees, reach, math.pi / flower["petals"])
    pen.oval(flower["center"], 0, 0, flower["radius"], flower["radius"])


# The color of every other ring of petals, so that rings are distinguishable.
_INNER_RING_COLORS = {
    "red": "maroon",
    "orange": "gold",
    "yellow": "gold",
    "white": "cream",
    "pink": "magenta",
    "blue": "navy",
    "violet": "lilac",
}


def _petal(pen: Pen, form: str, color: str, degrees: float, reach: float, half: float) -> None:
    """Draw a petal from the center to `reach`; `half` is half the angle between two petals, in radians."""
    turn = math.radians(degrees)
    cos, sin = math.cos(turn), math.sin(turn)
    width = min(0.42, reach * math.tan(min(half, 1.0)))
    if form == "pointed":
        outline = [(0, 0), (reach * 0.5, -width), (reach, 0), (reach * 0.5, width)]
    elif form == "fan":
        outline = [
            (0, 0),
            (reach * 0.85, -width * 1.3),
            (reach, -width * 0.4),
            (reach * 0.9, 0),
            (reach, width * 0.4),
            (reach * 0.85, width * 1.3),
        ]
    else:
        thin = width * (0.62 if form == "long" else 1.0)
        pen.oval(color, reach * 0.58 * cos, reach * 0.58 * sin, reach * 0.42, thin, degrees)
        return
    pen.polygon(color, [(x * cos - y * sin, x * sin + y * cos) for x, y in outline])
