"""Synthetic image files in every form that occurs on the web, including invalid and hostile ones."""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps

ORIENTATION_TAG = 0x0112


def noise_image(seed: int, width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    """Smooth noise, which JPEG hardly changes; different for every seed."""
    bands = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "LA": 2}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, bands), dtype=np.uint8)
    image = Image.fromarray(pixels.squeeze() if bands == 1 else pixels, mode)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def encode_image(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """The bytes of an image file."""
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def jpeg(seed: int, mode: str = "RGB", **size: int) -> bytes:
    """A plain JPEG of `noise_image(seed)`."""
    return encode_image(noise_image(seed, mode=mode, **size), quality=95)


def rotated_jpeg(seed: int, orientation: int) -> tuple[bytes, Image.Image]:
    """A JPEG with an EXIF orientation, and the upright image."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    stored = encode_image(noise_image(seed), quality=95, exif=exif.tobytes())
    return stored, ImageOps.exif_transpose(Image.open(io.BytesIO(stored)))


def sixteen_bit_png(seed: int) -> tuple[bytes, np.ndarray]:
    """A 16-bit grayscale PNG, and the expected 8-bit pixels."""
    gray = np.asarray(noise_image(seed, mode="L")).astype(np.uint16)
    return encode_image(Image.fromarray(gray * 256 + 99), "PNG"), gray.astype(np.uint8)


def animated_image(seed: int, form: str) -> bytes:
    """An animation of three frames; the first is `noise_image(seed)`."""
    other_frames = [noise_image(seed + 1), noise_image(seed + 2)]
    return encode_image(noise_image(seed), form, save_all=True, append_images=other_frames)


def decompression_bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG of few bytes that decompresses to 900 million pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    compressor = zlib.compressobj(9)
    line = bytes(1 + width // 8)
    data = b"".join(compressor.compress(line) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
