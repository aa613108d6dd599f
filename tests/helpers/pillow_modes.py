"""The same image in every Pillow mode."""

import numpy as np
from PIL import Image, ImageCms

# A smooth, asymmetric grayscale image, which every mode can represent.
_ROWS, _COLUMNS = np.mgrid[0:24, 0:36]
GRAY = (_ROWS * 5 + _COLUMNS * 3 + 10).astype(np.uint8)  # (24, 36), 10 to 230


def image_in_mode(mode: str) -> Image.Image:
    """`GRAY` in a Pillow mode, scaled to the full range of the mode."""
    gray = Image.fromarray(GRAY)
    rgb = gray.convert("RGB")
    if mode == "1":
        return Image.fromarray(GRAY >= 128)
    if mode in ("LA", "RGBA"):
        image = gray.convert(mode)
        image.putalpha(255)
        return image
    if mode in ("La", "RGBa"):
        return image_in_mode(mode.replace("a", "A")).convert(mode)
    if mode == "P":
        return gray.convert("P")
    if mode == "PA":
        image = gray.convert("P").convert("PA")
        image.putalpha(255)
        return image
    if mode == "CMYK":
        inverted = Image.fromarray(255 - GRAY)
        return Image.merge("CMYK", [*[Image.new("L", gray.size)] * 3, inverted])
    if mode == "LAB":
        return ImageCms.profileToProfile(
            rgb, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    if mode.startswith("I;16"):
        order = ">" if mode.endswith("B") else "<"
        return Image.frombytes(mode, gray.size, (GRAY.astype(np.uint16) * 257).astype(order + "u2").tobytes())
    if mode == "I":
        return Image.fromarray(GRAY.astype(np.int32) * 257)
    if mode == "F":
        return Image.fromarray(GRAY.astype(np.float32) / 255)
    return rgb.convert(mode)


MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"),
    *("I", "I;16", "I;16L", "I;16B", "I;16N", "F"),
)
