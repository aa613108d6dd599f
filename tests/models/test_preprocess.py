"""`preprocess` is bit-identical to open_clip's evaluation transform and accepts every Pillow mode."""

import io
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from cloob.images.decoding import decode_rgb, to_upright_rgb
from cloob.models.clip import build_model
from cloob.models.export import export_open_clip
from cloob.models.load import load_model
from cloob.models.preprocessing import evaluation_transform
from tests.helpers.pillow_modes import MODES, image_in_mode
from tests.helpers.sample_images import encode_image

CONFIG = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
SIZES = [(32, 32), (33, 32), (500, 375), (101, 307), (31, 200), (7, 5), (1, 1), (640, 33)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("exported")
    export_open_clip(build_model(CONFIG), CONFIG, folder)
    return folder


def photo(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    bands = [Image.effect_noise(size, 30 * band + 40) for band in range(3)]
    return Image.merge("RGB", bands).convert(mode)


def open_clip_pixels(content: bytes) -> torch.Tensor:
    """A test image as CLIP_benchmark and open_clip read it: torchvision's loader, open_clip's transform."""
    transform = open_clip.image_transform(32, is_train=False)
    return transform(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize(("form", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB")])
def test_preprocess_is_bit_identical_to_open_clips_transform(
    form: str, mode: str, size: tuple[int, int]
) -> None:
    content = encode_image(photo(size, mode), form)
    expected = open_clip_pixels(content)
    with Image.open(io.BytesIO(content)) as image:
        assert torch.equal(evaluation_transform(CONFIG)(image), expected)
    assert torch.equal(evaluation_transform(CONFIG)(decode_rgb(content)), expected)


def test_exported_model_has_the_same_transform(exported: Path) -> None:
    _, _, reference = open_clip.create_model_and_transforms(f"local-dir:{exported}")
    for size in SIZES:
        assert torch.equal(reference(image := photo(size)), evaluation_transform(CONFIG)(image))


@pytest.mark.parametrize("form", ["ours", "open_clip"])
def test_preprocess_of_any_mode_equals_that_of_the_decoded_image(exported: Path, form: str) -> None:
    model = build_model(CONFIG) if form == "ours" else load_model(str(exported))
    preprocess = model.preprocess
    for mode in MODES:
        image = image_in_mode(mode)
        assert torch.equal(preprocess(image), preprocess(to_upright_rgb(image))), mode
    exif = Image.Exif()
    exif[0x0112] = 6
    for file_format in ("JPEG", "PNG", "WEBP", "TIFF"):
        content = encode_image(photo((60, 40)), file_format, exif=exif)
        with Image.open(io.BytesIO(content)) as image:
            assert torch.equal(preprocess(image), preprocess(decode_rgb(content)))


def test_preprocess_accepts_pixel_tensors() -> None:
    image = photo((60, 40))
    preprocess = evaluation_transform(CONFIG)
    assert torch.equal(preprocess(pil_to_tensor(image)), preprocess(image))
