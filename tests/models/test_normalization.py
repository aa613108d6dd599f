"""Pixels are normalized as by torchvision, bit for bit."""

import open_clip
import torch
from torchvision.transforms import v2

from cloob.models.preprocessing import normalize_pixels


def test_normalized_pixels_equal_those_of_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 9, 9, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)
    with torch.inference_mode():
        normalize_pixels(images)  # the constants are kept, and used in training later
    expected = v2.functional.normalize(
        v2.functional.to_dtype(images, torch.float32, scale=True),
        mean=list(open_clip.OPENAI_DATASET_MEAN),
        std=list(open_clip.OPENAI_DATASET_STD),
    )
    actual = normalize_pixels(images)
    assert torch.equal(actual, expected)
    assert actual.stride() == expected.stride()
    assert not actual.is_inference()
