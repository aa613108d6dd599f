"""Pictures as strangers' servers send them: every form that training cannot read as it is, and rubbish."""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps

ORIENTATION = 0x0112


def noise(seed: int, width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    """Smooth noise, so that a JPEG of it is near it; no two seeds alike."""
    bands = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "LA": 2}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, bands), dtype=np.uint8)
    image = Image.fromarray(pixels.squeeze() if bands == 1 else pixels, mode)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """The bytes of a file of it."""
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def jpeg(seed: int, mode: str = "RGB", **size: int) -> bytes:
    """A plain JPEG."""
    return encoded(noise(seed, mode=mode, **size), quality=95)


def turned(seed: int, orientation: int) -> tuple[bytes, Image.Image]:
    """A JPEG with that EXIF orientation, and the picture as it is to be seen."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = encoded(noise(seed), quality=95, exif=exif.tobytes())
    return stored, ImageOps.exif_transpose(Image.open(io.BytesIO(stored)))


def sixteen_bits(seed: int) -> tuple[bytes, np.ndarray]:
    """A grey PNG of 16 bits, and the 8 bits that it is to become."""
    grey = np.asarray(noise(seed, mode="L")).astype(np.uint16)
    return encoded(Image.fromarray(grey * 256 + 99), "PNG"), grey.astype(np.uint8)


def animated(seed: int, form: str) -> bytes:
    """Three pictures after one another; the first is `noise(seed)`."""
    return encoded(noise(seed), form, save_all=True, append_images=[noise(seed + 1), noise(seed + 2)])


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG of few bytes and 900 million pixels: its header promises, its data compress to nothing."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    line = bytes(1 + width // 8)
    data = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
