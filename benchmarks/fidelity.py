"""Size of those differences from the authors' code that can be measured without it (docs/fidelity.md).

Their download script shrinks images with Pillow's `thumbnail` and saves each as a JPEG of quality 75; their
loader reads captions with pandas' `read_csv`. Both are called here as they call them. The images are made up:
noise with the spectrum of photographs.
"""

import argparse
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from cloob.shards.training_image import ImagePolicy, prepare_image
from cloob.train.augmentation import RandomResizedCrop
from cloob.train.recipe import Recipe
from cloob.train.schedule import learning_rate

CONFIG = Path(__file__).parents[1] / "config" / "config.yaml"
Row = tuple[str, str]
PAIRS = 2_890_000


def temperature_decay() -> Iterator[Row]:
    """Sum of learning rate × weight decay over the recipes of Conceptual Captions."""
    values = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["recipes"]["cc3m"]
    for epochs, cycles in ((values["epochs"], values["cycles"]), (70, 10)):
        entry = values | values["objectives"]["clip"] | {"cycles": cycles}
        schedule = Recipe(**{name: entry[name] for name in Recipe.__dataclass_fields__ if name in entry})
        steps = PAIRS // values["batch_size"] * epochs
        total = math.fsum(learning_rate(step, steps, schedule) for step in range(steps))
        exponent = values["weight_decay"] * total
        yield (
            f"decay of ln(1/τ) without gradient, {epochs} epochs, {cycles} cycles, {steps:,} steps",
            f"factor exp(−{exponent:.1f})",
        )


def clamp_and_start() -> Iterator[Row]:
    """The largest and the first 1/τ."""
    yield "largest 1/τ: exp(4.6052) − 100", f"{math.exp(4.6052) - 100:.4f}"
    yield "first 1/τ of CLIP: 14.3 against 1 / 0.07", f"{14.3 * 0.07 - 1:+.2%}"


def crops() -> Iterator[Row]:
    """Shapes of images that no random crop fits."""
    crop = RandomResizedCrop(224, (0.9, 1.0), seed=0)
    for width, height in ((400, 300), (440, 300), (450, 300), (480, 300), (600, 300)):
        boxes = {crop.box(height, width, (0, index)) for index in range(2000)}
        kept = next(iter(boxes))[3] / width
        seen = (
            f"always the center crop, {kept:.0%} of the width" if len(boxes) == 1 else f"{len(boxes):,} boxes"
        )
        yield f"2,000 crops of {width} × {height} pixels (crop scale 0.9)", seen


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Noise with the 1/f amplitude spectrum of photographs, colors correlated."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    noise = generator.normal(size=(4, height, width))
    layers = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(height, width))
    layers /= layers.std(axis=(1, 2), keepdims=True)
    colors = 128 + 45 * layers[0] + 15 * layers[1:]
    return Image.fromarray(np.clip(colors, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def encode(image: Image.Image, **options: int) -> bytes:
    """A JPEG."""
    content = io.BytesIO()
    image.save(content, "JPEG", **options)
    return content.getvalue()


def decode(content: bytes) -> Image.Image:
    """The image of a JPEG."""
    return Image.open(io.BytesIO(content))


def gray_levels(images: list[tuple[Image.Image, Image.Image]]) -> str:
    """Mean and 99th percentile of the absolute difference of pixels."""
    parts = [np.abs(np.asarray(a, int) - np.asarray(b, int)).ravel() for a, b in images]
    levels = np.concatenate(parts)
    return f"mean {levels.mean():.2f}, 99% {np.percentile(levels, 99):.0f} gray levels"


def stored_images(number: int) -> Iterator[Row]:
    """What is stored: after their script, and after ours with each quality."""
    for width, height in ((1024, 768), (500, 375)):
        originals = [encode(photograph(width, height, seed), quality=90) for seed in range(number)]
        theirs = []
        for content in originals:
            image = Image.open(io.BytesIO(content))
            image.thumbnail((512, 512), Image.Resampling.BICUBIC)
            theirs.append(encode(image))
        for quality in (75, 95):
            policy = ImagePolicy(10**8, 10**8, quality, image_size=512)
            ours = [prepare_image(content, policy).content for content in originals]
            opened = [
                tuple(Image.open(io.BytesIO(c)) for c in pair) for pair in zip(theirs, ours, strict=True)
            ]
            size = sum(map(len, ours)) / sum(map(len, theirs))
            yield (
                f"stored image of {width} × {height} pixels, quality {quality} here",
                f"{gray_levels(opened)}; {size:.2f} × the bytes",
            )


def rejected_modes() -> Iterator[Row]:
    """Image modes that their script drops, because it saves as JPEG without converting."""
    dropped = []
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"):
        try:
            Image.new(mode, (8, 8)).save(io.BytesIO(), "JPEG")
        except OSError:
            dropped.append(mode)
    yield "Pillow modes that cannot be saved as JPEG", ", ".join(dropped)


def aspect_ratio() -> Iterator[Row]:
    """Sizes up to 1,000 pixels whose ratio is judged otherwise after shrinking and rounding, as theirs is."""
    sides = np.arange(16, 1001)
    long, short = np.meshgrid(sides, sides)
    long, short = long[long >= short], short[long >= short]
    scale = np.minimum(1, 512 / long)
    shrunk = np.maximum(1, np.round(short * scale)), np.round(long * scale)
    differ = (short * 3 < long) != (shrunk[0] < shrunk[1] / 3)
    yield (
        "sizes up to 1,000 pixels with another verdict on the ratio 3",
        f"{differ.sum():,} of {len(differ):,}",
    )


def captions() -> Iterator[Row]:
    """Captions that pandas' `read_csv` changes, as a table with a header and 1,000 other rows."""
    changed = []
    for caption in (
        "none",
        "None",
        "null",
        "NA",
        "n/a",
        "nan",
        '" quoted " and more',
        'the " inner " quotes',
    ):
        table = f"title\tfilepath\n{caption}\ta.jpg\n"
        read = str(pd.read_csv(io.StringIO(table), sep="\t")["title"][0])
        if read != caption:
            changed.append(f"`{caption}` → `{read}`")
    yield "captions changed by read_csv", "; ".join(changed)
    rows = ["a dog\ta.jpg"] * 1000
    for row in (100, 300):
        rows[row] = '" an opening quote\ta.jpg'
    read_rows = len(pd.read_csv(io.StringIO("title\tfilepath\n" + "\n".join(rows)), sep="\t"))
    yield "opening quotes in rows 101 and 301 of 1,000", f"{1000 - read_rows:,} rows are lost"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20, help="images of each size (default: 20)")
    options = parser.parse_args()
    print("| what | difference |\n|---|---|")
    for rows in (
        temperature_decay(),
        clamp_and_start(),
        crops(),
        stored_images(options.images),
        rejected_modes(),
        aspect_ratio(),
        captions(),
    ):
        for what, difference in rows:
            print(f"| {what} | {difference} |", flush=True)


if __name__ == "__main__":
    main()
