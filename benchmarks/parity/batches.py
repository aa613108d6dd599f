"""A small model in the configuration formats of both projects, and captioned batches that it can learn."""

from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

IMAGE_SIZE = 64
MODEL = "parity"
AUTHORS_CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "image_resolution": IMAGE_SIZE,
    "vision_layers": [2, 1, 1, 1],
    "vision_width": 16,
    "vision_patch_size": None,
    "context_length": 77,
    "vocab_size": 49408,
    "transformer_width": 64,
    "transformer_heads": 2,
    "transformer_layers": 2,
}
OPEN_CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "quick_gelu": True,
    "vision_cfg": {"image_size": IMAGE_SIZE, "layers": [2, 1, 1, 1], "width": 16, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}

COLORS = ("red", "blue", "green", "white", "black", "orange", "purple", "brown", "pink", "gray", "gold")
SHAPES = ("circle", "square", "triangle", "cross", "bar")
PLACES = {
    "in the middle": (0.5, 0.5),
    "on the left": (0.25, 0.5),
    "on the right": (0.75, 0.5),
    "at the top": (0.5, 0.25),
    "at the bottom": (0.5, 0.75),
}
ENDINGS = ("", ", seen from afar", ", a photo of my holidays in the mountains", " & nothing else")
Batch = tuple[np.ndarray, list[str]]  # pixels, uint8 (N, S, S, 3), and N captions


@cache
def make_batches(number: int, batch_size: int, image_size: int = IMAGE_SIZE, seed: int = 0) -> list[Batch]:
    """Colored shapes with noise, and captions that describe them."""
    generator = np.random.default_rng(seed)
    batches = []
    for _ in range(number):
        pairs = [_make_pair(generator, image_size) for _ in range(batch_size)]
        batches.append((np.stack([image for image, _ in pairs]), [caption for _, caption in pairs]))
    return batches


def _make_pair(generator: np.random.Generator, size: int) -> tuple[np.ndarray, str]:
    color, background = (COLORS[index] for index in generator.choice(len(COLORS), 2, replace=False))
    shape = SHAPES[generator.integers(len(SHAPES))]
    place = list(PLACES)[generator.integers(len(PLACES))]
    ending = ENDINGS[generator.integers(len(ENDINGS))]
    image = Image.new("RGB", (size, size), background)
    x, y = (size * fraction for fraction in PLACES[place])
    _draw(ImageDraw.Draw(image), shape, x, y, size * generator.uniform(0.12, 0.23), color)
    noisy = np.asarray(image).astype(int) + generator.integers(-12, 13, (size, size, 3))
    caption = f"a {color} {shape} {place} on {background}{ending}"
    return np.clip(noisy, 0, 255).astype(np.uint8), caption


def _draw(draw: ImageDraw.ImageDraw, shape: str, x: float, y: float, radius: float, color: str) -> None:
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        draw.ellipse(box, color)
    elif shape == "square":
        draw.rectangle(box, color)
    elif shape == "triangle":
        draw.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], color)
    elif shape == "cross":
        draw.line((x - radius, y, x + radius, y), color, 5)
        draw.line((x, y - radius, x, y + radius), color, 5)
    else:
        draw.rectangle((x - radius, y - 3, x + radius, y + 3), color)
