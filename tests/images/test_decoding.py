"""The decoding policy: every Pillow mode, format, bit depth and orientation becomes upright 8-bit RGB."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from cloob.images.decoding import FORMATS, ImageError, decode_rgb, open_image, to_upright_rgb
from tests.helpers.pillow_modes import GRAY, MODES, image_in_mode
from tests.helpers.sample_images import ORIENTATION_TAG, encode_image

LOSSLESS = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def expected_pixels(mode: str) -> np.ndarray:
    return (np.where(GRAY >= 128, 255, 0) if mode == "1" else GRAY.astype(int))[..., None]


def test_all_pillow_modes_are_tested() -> None:
    assert set(MODES) == set(Image.MODES)


@pytest.mark.parametrize("mode", MODES)
def test_image_of_any_mode_is_converted_to_rgb(mode: str) -> None:
    image = to_upright_rgb(image_in_mode(mode))
    assert np.abs(pixels(image) - expected_pixels(mode)).max() <= 1
    assert to_upright_rgb(image) is image


@pytest.mark.parametrize("form", FORMATS)
def test_files_of_every_format_are_decoded_in_all_modes_of_the_format(form: str) -> None:
    stored_modes = []
    for mode in MODES:
        try:
            content = encode_image(image_in_mode(mode), form, **LOSSLESS.get(form, {}))
        except (OSError, ValueError):
            continue  # the format does not support this mode
        if form in ("WEBP", "GIF") and mode[0] in "IF":
            continue  # saving clips the values
        with open_image(content) as stored:
            stored_modes.append(stored.mode)
        tolerance = 9 if (form, mode) in (("GIF", "RGBA"), ("JPEG", "1")) else 2
        assert np.abs(pixels(decode_rgb(content)) - expected_pixels(mode)).max() <= tolerance, (
            mode,
            stored_modes[-1],
        )
    assert len(stored_modes) >= 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_in_every_format(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    stored = image_in_mode("RGB")
    content = encode_image(stored, form, exif=exif, **LOSSLESS.get(form, {}))
    stored.getexif()[ORIENTATION_TAG] = orientation
    upright = ImageOps.exif_transpose(stored)
    image = decode_rgb(content)
    assert image.size == upright.size
    assert np.abs(pixels(image) - pixels(upright)).max() <= 2
    assert to_upright_rgb(image) is image  # idempotent
    with Image.open(io.BytesIO(content)) as user_image:
        assert np.array_equal(pixels(to_upright_rgb(user_image)), pixels(image))


def test_invalid_orientation_and_malformed_exif_are_ignored() -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 9
    for exif_bytes in (exif.tobytes(), b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12"):
        assert decode_rgb(encode_image(image_in_mode("RGB"), "JPEG", exif=exif_bytes)).size == (36, 24)


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_transparency_is_composed_over_white(mode: str) -> None:
    gray = Image.fromarray(GRAY)
    half_transparent = gray.convert("PA" if mode == "PA" else mode.replace("a", "A"))
    half_transparent.putalpha(Image.fromarray(np.where(GRAY < 128, 0, 255).astype(np.uint8)))
    image = half_transparent if half_transparent.mode == mode else half_transparent.convert(mode)
    expected = np.where(GRAY < 128, 255, GRAY).astype(int)[..., None]
    assert np.abs(pixels(to_upright_rgb(image)) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_transparent_color_becomes_white(mode: str) -> None:
    image = image_in_mode(mode)
    first = image.getpixel((0, 0))
    content = encode_image(image, "PNG", transparency=first)
    with open_image(content) as stored:
        assert stored.mode == mode
        is_transparent = np.array([[stored.getpixel((x, y)) == first for x in range(36)] for y in range(24)])
    expected = np.where(is_transparent[..., None], 255, expected_pixels(mode))
    assert is_transparent.any() and not is_transparent.all()
    assert np.array_equal(pixels(decode_rgb(content)), np.broadcast_to(expected, (24, 36, 3)))


def test_palette_with_alpha_is_composed_over_white() -> None:
    content = encode_image(image_in_mode("P"), "PNG", transparency=bytes([0] * 128 + [255] * 128))
    expected = np.where(GRAY < 128, 255, GRAY).astype(int)[..., None]
    assert np.abs(pixels(decode_rgb(content)) - expected).max() == 0


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_16_bit_values_are_divided_by_257(mode: str) -> None:
    values = np.arange(0, 65_536, 13, dtype=np.uint16)[None]
    order = ">u2" if mode == "I;16B" else "<u2"
    image = (
        Image.fromarray(values.astype(np.int32))
        if mode == "I"
        else Image.frombytes(mode, (values.size, 1), values.astype(order).tobytes())
    )
    assert np.array_equal(pixels(to_upright_rgb(image))[..., 0], np.rint(values / 257))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_low_bit_depth_gray_pngs_range_from_black_to_white(bits: int) -> None:
    levels = Image.fromarray(np.arange(2**bits, dtype=np.uint8)[None]).convert("P")
    levels.putpalette([level * 255 // (2**bits - 1) for level in range(2**bits) for _ in range(3)])
    content = bytearray(encode_image(levels, "PNG", bits=bits))
    assert content[24] == bits
    assert [int(value) for value in pixels(decode_rgb(bytes(content)))[0, :, 0]] == [
        level * 255 // (2**bits - 1) for level in range(2**bits)
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 100, 255], [0, 100, 255]),
        ([0, 25_700, 65_535], [0, 100, 255]),
        ([-2, 0, 2], [0, 128, 255]),
        ([-1e30, 0, 1e30], [0, 128, 255]),
        ([float("nan"), float("inf"), 255], [0, 0, 255]),
        ([-7, -7, -7], [0, 0, 0]),
    ],
)
def test_float_values_use_the_smallest_range_that_contains_them(
    values: list[float], expected: list[int]
) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert pixels(to_upright_rgb(image))[0, :, 0].tolist() == expected


def test_32_bit_integers_use_their_full_range() -> None:
    image = Image.fromarray(np.array([[-(2**31), 0, 2**31 - 1]], dtype=np.int32))
    assert pixels(to_upright_rgb(image))[0, :, 0].tolist() == [0, 128, 255]


def test_inverted_adobe_cmyk_jpeg_is_not_a_negative() -> None:
    content = encode_image(image_in_mode("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in content
    assert np.abs(pixels(decode_rgb(content)) - expected_pixels("CMYK")).max() <= 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not_an_image"),
        (b"<html>gone</html>", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not_an_image"),
        (encode_image(image_in_mode("RGB"), "JPEG")[:-60], "truncated_image"),
        (encode_image(image_in_mode("RGB"), "PNG")[:60] + bytes(600), "undecodable"),
        (encode_image(Image.new("1", (400, 300)), "PNG"), "too_many_pixels"),
    ],
)
def test_undecodable_image_has_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as raised:
        decode_rgb(content, max_pixels=100_000)
    assert raised.value.reason == reason and str(raised.value)


def test_default_limit_is_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    for width in (400, 4_000):  # Pillow warns above its limit and raises above twice the limit
        with pytest.raises(ImageError, match="more than 100000 pixels"):
            decode_rgb(encode_image(Image.new("1", (width, 300)), "PNG"))


def test_out_of_memory_is_not_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_memory_error(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", raise_memory_error)
    with pytest.raises(MemoryError):
        decode_rgb(encode_image(image_in_mode("L"), "PNG"))


def test_only_the_first_frame_is_decoded() -> None:
    content = encode_image(image_in_mode("L"), "GIF", save_all=True, append_images=[image_in_mode("1")] * 2)
    assert np.abs(pixels(decode_rgb(content)) - expected_pixels("L")).max() <= 1
