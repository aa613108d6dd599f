"""One decoding policy: every mode, format, depth and orientation of Pillow becomes upright 8-bit RGB."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from cloob.images.decoding import FORMATS, ImageError, decode_rgb, open_image, to_upright_rgb
from tests.helpers.pillow_modes import GRAY, MODES, image_in_mode
from tests.helpers.sample_images import encode_image

ORIENTATION = 0x0112
LOSSLESS = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}


def seen(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def expected(mode: str) -> np.ndarray:
    return (np.where(GRAY >= 128, 255, 0) if mode == "1" else GRAY.astype(int))[..., None]


def test_the_modes_tested_here_are_all_that_pillow_has() -> None:
    assert set(MODES) == set(Image.MODES)


@pytest.mark.parametrize("mode", MODES)
def test_an_image_of_any_mode_becomes_rgb(mode: str) -> None:
    image = to_upright_rgb(image_in_mode(mode))
    assert np.abs(seen(image) - expected(mode)).max() <= 1
    assert to_upright_rgb(image) is image


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_of_any_format_is_read_in_every_mode_that_the_format_has(form: str) -> None:
    read = []
    for mode in MODES:
        try:
            content = encode_image(image_in_mode(mode), form, **LOSSLESS.get(form, {}))
        except (OSError, ValueError):
            continue  # a format without this mode
        if form in ("WEBP", "GIF") and mode[0] in "IF":
            continue  # saving cuts the values off
        with open_image(content) as stored:
            read.append(stored.mode)
        tolerance = 9 if (form, mode) in (("GIF", "RGBA"), ("JPEG", "1")) else 2
        assert np.abs(seen(decode_rgb(content)) - expected(mode)).max() <= tolerance, (mode, read[-1])
    assert len(read) >= 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_in_every_format_that_has_it(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = image_in_mode("RGB")
    content = encode_image(stored, form, exif=exif, **LOSSLESS.get(form, {}))
    stored.getexif()[ORIENTATION] = orientation
    right = ImageOps.exif_transpose(stored)
    image = decode_rgb(content)
    assert image.size == right.size
    assert np.abs(seen(image) - seen(right)).max() <= 2
    assert to_upright_rgb(image) is image  # once is enough
    with Image.open(io.BytesIO(content)) as opened_by_a_user:
        assert np.array_equal(seen(to_upright_rgb(opened_by_a_user)), seen(image))


def test_orientation_that_makes_no_sense_and_malformed_exif_are_ignored() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 9
    for said in (exif.tobytes(), b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12"):
        assert decode_rgb(encode_image(image_in_mode("RGB"), "JPEG", exif=said)).size == (36, 24)


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_transparency_is_composed_over_white(mode: str) -> None:
    gray = Image.fromarray(GRAY)
    half = gray.convert("PA" if mode == "PA" else mode.replace("a", "A"))
    half.putalpha(Image.fromarray(np.where(GRAY < 128, 0, 255).astype(np.uint8)))
    image = half if half.mode == mode else half.convert(mode)
    right = np.where(GRAY < 128, 255, GRAY).astype(int)[..., None]
    assert np.abs(seen(to_upright_rgb(image)) - right).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_a_transparent_color_becomes_white(mode: str) -> None:
    image = image_in_mode(mode)
    first = image.getpixel((0, 0))
    content = encode_image(image, "PNG", transparency=first)
    with open_image(content) as stored:
        assert stored.mode == mode
        clear = np.array([[stored.getpixel((x, y)) == first for x in range(36)] for y in range(24)])
    right = np.where(clear[..., None], 255, expected(mode))
    assert clear.any() and not clear.all()
    assert np.array_equal(seen(decode_rgb(content)), np.broadcast_to(right, (24, 36, 3)))


def test_a_palette_with_alpha_is_composed_over_white() -> None:
    content = encode_image(image_in_mode("P"), "PNG", transparency=bytes([0] * 128 + [255] * 128))
    right = np.where(GRAY < 128, 255, GRAY).astype(int)[..., None]
    assert np.abs(seen(decode_rgb(content)) - right).max() == 0


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_16_bits_are_scaled_by_257(mode: str) -> None:
    values = np.arange(0, 65_536, 13, dtype=np.uint16)[None]
    order = ">u2" if mode == "I;16B" else "<u2"
    image = (
        Image.fromarray(values.astype(np.int32))
        if mode == "I"
        else Image.frombytes(mode, (values.size, 1), values.astype(order).tobytes())
    )
    assert np.array_equal(seen(to_upright_rgb(image))[..., 0], np.rint(values / 257))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_pngs_of_few_bits_reach_from_black_to_white(bits: int) -> None:
    levels = Image.fromarray(np.arange(2**bits, dtype=np.uint8)[None]).convert("P")
    levels.putpalette([level * 255 // (2**bits - 1) for level in range(2**bits) for _ in range(3)])
    content = bytearray(encode_image(levels, "PNG", bits=bits))
    assert content[24] == bits
    assert [int(value) for value in seen(decode_rgb(bytes(content)))[0, :, 0]] == [
        level * 255 // (2**bits - 1) for level in range(2**bits)
    ]


@pytest.mark.parametrize(
    ("values", "right"),
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
def test_numbers_have_the_least_range_that_holds_them(values: list[float], right: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert seen(to_upright_rgb(image))[0, :, 0].tolist() == right


def test_integers_of_32_bits_are_neither_black_nor_white() -> None:
    image = Image.fromarray(np.array([[-(2**31), 0, 2**31 - 1]], dtype=np.int32))
    assert seen(to_upright_rgb(image))[0, :, 0].tolist() == [0, 128, 255]


def test_an_inverted_cmyk_jpeg_of_adobe_is_not_a_negative() -> None:
    content = encode_image(image_in_mode("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in content
    assert np.abs(seen(decode_rgb(content)) - expected("CMYK")).max() <= 2


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
def test_what_cannot_be_decoded_has_one_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as error:
        decode_rgb(content, max_pixels=100_000)
    assert error.value.reason == reason and str(error.value)


def test_pillows_own_limit_holds_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    for width in (400, 4_000):  # Pillow warns above its limit and refuses above twice the limit
        with pytest.raises(ImageError, match="more than 100000 pixels"):
            decode_rgb(encode_image(Image.new("1", (width, 300)), "PNG"))


def test_lack_of_memory_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", fails)
    with pytest.raises(MemoryError):
        decode_rgb(encode_image(image_in_mode("L"), "PNG"))


def test_frames_after_the_first_are_not_read() -> None:
    content = encode_image(image_in_mode("L"), "GIF", save_all=True, append_images=[image_in_mode("1")] * 2)
    assert np.abs(seen(decode_rgb(content)) - expected("L")).max() <= 1
