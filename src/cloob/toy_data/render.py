"""Render scenes as image files."""

import io
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cloob.toy_data.birds_and_flowers import draw_bird, draw_flower
from cloob.toy_data.pen import Palette, Pen
from cloob.toy_data.scene import Scene
from cloob.toy_data.vocabulary import Species, places, words

# Antialiasing: images are drawn this many times larger and reduced, as Pillow's shapes have hard edges.
_OVERSAMPLING = 2
_LIGHT_COLORS = {
    "dusk": np.array((1.06, 0.84, 0.66), dtype=np.float32),
    "night": np.array((0.5, 0.55, 0.72), dtype=np.float32),
}
_ERROR_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Gone</title></head><body>This picture has moved.</body></html>\n"
)
# The background is blended with this color, so that subjects stand out.
_BACKGROUND_HAZE = (196, 204, 212)
_FOG = np.array((206, 209, 213), dtype=np.float32)


@dataclass(frozen=True)
class ImageFile:
    """An image file to render: path, scene and form (see `encode`)."""

    path: str
    scene: Scene
    form: str = "photo"


def write_image(file: ImageFile, root: Path) -> None:
    """Render a file below `root`; its folder must exist."""
    (root / file.path).write_bytes(encode(file.scene, file.form))


def encode(scene: Scene, form: str) -> bytes:
    """The bytes of an image file of `scene`.

    Forms: `photo` (a JPEG; a few are progressive, grayscale, or PNGs with the wrong suffix), `crop` (small,
    filled by the subject), `long` (aspect ratio above 3), `tiny` (a few pixels), `truncated`, `html` (an
    error page), `empty`.
    """
    rng = random.Random(scene.seed)
    if form == "empty":
        return b""
    if form == "html":
        return _ERROR_PAGE
    size = _size(rng, form)
    image = (
        render(scene, size, rng, fill=form == "crop")
        if form != "tiny"
        else Image.new("RGB", size, (120, 130, 140))
    )
    content = _compress(image, rng)
    if form == "truncated":
        return content[: int(len(content) * rng.uniform(0.3, 0.6))]
    return content


def _size(rng: random.Random, form: str) -> tuple[int, int]:
    if form == "tiny":
        return rng.choice(((1, 1), (1, 1), (2, 2), (3, 2), (6, 5)))
    if form == "long":
        short = rng.randint(60, 90)
        width, height = rng.randint(short * 7 // 2, 360), short
    else:
        height = rng.randint(96, 150 if form == "crop" else 200)
        width = min(360, round(height * rng.triangular(1.0, 1.25 if form == "crop" else 2.0)))
    return (height, width) if rng.random() < 0.25 else (width, height)


def _compress(image: Image.Image, rng: random.Random) -> bytes:
    kind = rng.choices(("baseline", "progressive", "gray", "png"), (90, 6, 2, 2))[0]
    buffer = io.BytesIO()
    if kind == "png":
        image.save(buffer, "PNG", compress_level=1)
    else:
        image = image.convert("L") if kind == "gray" else image
        image.save(buffer, "JPEG", quality=rng.randint(55, 95), progressive=kind == "progressive")
    return buffer.getvalue()


def render(scene: Scene, size: tuple[int, int], rng: random.Random, fill: bool = False) -> Image.Image:
    """Draw `scene` at `size` (width, height): background, subjects, light and sensor noise."""
    width, height = (side * _OVERSAMPLING for side in size)
    palette = Palette(words()["colors"], scene.paint, rng)
    canvas = _background(scene, (width, height), palette, rng)
    if scene.subject is not None:
        canvas = Image.blend(canvas, Image.new("RGB", canvas.size, _BACKGROUND_HAZE), 0.35)
        overlay = _texture_mask(scene.texture, canvas.size)
        for center, radius in _positions(scene, (width, height), rng, fill):
            _draw_subject(canvas, scene, scene.subject, palette, center, radius, rng, overlay)
    canvas = canvas.reduce(_OVERSAMPLING)
    return _postprocess(canvas, scene, rng)


def _background(scene: Scene, size: tuple[int, int], palette: Palette, rng: random.Random) -> Image.Image:
    width, height = size
    place = places()[scene.place]
    horizon = round(height * place["horizon"])
    rows = np.empty((height, 1, 3), dtype=np.float32)
    for part, colors in ((slice(0, horizon), place["sky"]), (slice(horizon, height), place["ground"])):
        top, bottom = (np.array(palette(color), dtype=np.float32) for color in colors)
        fade = np.linspace(0, 1, rows[part].shape[0], dtype=np.float32)[:, None, None]
        rows[part] = top + (bottom - top) * fade
    canvas = Image.fromarray(np.broadcast_to(rows.astype(np.uint8), (height, width, 3)).copy())
    stretch = rng.uniform(0.9, 1.15)
    shift = rng.uniform(-0.12, 0.12)
    mirror = rng.random() < 0.5
    center = (width * (shift + (stretch if mirror else 0)), 0)
    Pen(canvas, palette, center, (width * stretch * (-1 if mirror else 1), height)).shapes(place["shapes"])
    return canvas


def _positions(
    scene: Scene, size: tuple[int, int], rng: random.Random, fill: bool
) -> list[tuple[tuple[float, float], float]]:
    """Center and radius (half the width) of each subject: one near the middle, or several side by side."""
    width, height = size
    short = min(size)
    radius = short * (
        rng.uniform(0.46, 0.54)
        if fill
        else rng.uniform(0.4, 0.52)
        if scene.size == "near"
        else rng.uniform(0.28, 0.36)
    )
    if scene.count == 1:
        x = width / 2 + rng.uniform(-0.12, 0.12) * short * (0.4 if fill else 1)
        y = height / 2 + rng.uniform(-0.08, 0.12) * short * (0.4 if fill else 1)
        return [((x, y), radius)]
    step = min(width / scene.count, short * 0.7)
    radius = min(radius, step * 0.55)
    first = width / 2 - step * (scene.count - 1) / 2
    return [
        (
            (first + step * number, height / 2 + rng.uniform(-0.12, 0.15) * short),
            radius * rng.uniform(0.85, 1.0),
        )
        for number in range(scene.count)
    ]


def _draw_subject(
    canvas: Image.Image,
    scene: Scene,
    subject: Species,
    palette: Palette,
    center: tuple[float, float],
    radius: float,
    rng: random.Random,
    overlay: Image.Image | None,
) -> None:
    drawing = subject.drawing
    tilt = rng.uniform(-25, 25) if scene.shifted else rng.uniform(-9, 9)
    mirror = -1 if rng.random() < 0.5 and scene.kind != "sign" else 1
    pen = Pen(canvas, palette, center, (radius * mirror * rng.uniform(0.88, 1.0), radius), tilt, overlay)
    if scene.kind == "bird":
        draw_bird(pen, drawing, rng)
    elif scene.kind == "flower":
        draw_flower(pen, drawing, rng)
    else:
        if scene.kind == "sign":
            pen.line("grey", 0.14, [(0, 0.5), (0, 3)])
        pen.shapes(drawing["shapes"])


def _texture_mask(texture: str, size: tuple[int, int]) -> Image.Image | None:
    """The mask of a texture over the whole image: stripes, dots or squares."""
    if texture == "plain":
        return None
    x, y = np.arange(size[0])[None, :], np.arange(size[1])[:, None]
    if texture == "striped":
        inside = (x + y) % 28 < 10
    elif texture == "dotted":
        inside = (x % 26 - 13) ** 2 + (y % 26 - 13) ** 2 < 40
    else:
        inside = (x // 16 + y // 16) % 2 == 0
    return Image.fromarray(np.where(inside, np.uint8(200), np.uint8(0)))


def _postprocess(image: Image.Image, scene: Scene, rng: random.Random) -> Image.Image:
    """Apply light, fog and noise; the distribution shift of the toy ImageNetV2 fades and quantizes colors."""
    pixels = np.asarray(image, dtype=np.float32) * np.float32(rng.uniform(0.85, 1.1))
    if scene.light == "fog":
        pixels += (_FOG - pixels) * np.float32(rng.uniform(0.3, 0.5))
    elif scene.light in _LIGHT_COLORS:
        pixels *= _LIGHT_COLORS[scene.light]
    if scene.shifted:
        gray = pixels.mean(axis=2, keepdims=True)
        pixels = np.round((gray + (pixels - gray) * np.float32(0.6)) / 40) * 40
    noise = np.random.default_rng(rng.getrandbits(62)).integers(-128, 128, pixels.shape[:2], dtype=np.int8)
    pixels += noise[:, :, None] * np.float32(rng.uniform(0.02, 0.16 if scene.shifted else 0.1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
