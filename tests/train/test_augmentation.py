"""The random resized crop has torchvision's distribution and open_clip's pixels."""

import io

import numpy as np
import open_clip
import pytest
import torch
import torchvision
from PIL import Image
from scipy import stats
from torchvision.transforms import v2

from cloob.shards.reader import Shards
from cloob.train.augmentation import RandomResizedCrop


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 500), (300, 520)])
def test_crops_have_the_distribution_of_torchvision(height, width):
    crop = RandomResizedCrop(224, (0.6, 1.0), seed=1)
    reference = v2.RandomResizedCrop(224, (0.6, 1.0))
    image = torch.empty(3, height, width, dtype=torch.uint8)
    torch.manual_seed(0)
    names = ("top", "left", "height", "width")
    expected = np.array([[reference.make_params([image])[name] for name in names] for _ in range(2000)])
    boxes = np.array([crop.box(height, width, (0, index)) for index in range(2000)])
    for column, name in enumerate(names):
        assert stats.ks_2samp(boxes[:, column], expected[:, column]).pvalue > 1e-3, name


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (10, 400), (400, 10), (375, 500)])
def test_a_crop_is_inside_its_image_for_every_shape(height, width):
    crop = RandomResizedCrop(8, (0.9, 1.0), seed=1)
    for index in range(200):
        top, left, rows, columns = crop.box(height, width, (0, index))
        assert 0 <= top < top + rows <= height
        assert 0 <= left < left + columns <= width


def test_an_image_too_narrow_for_any_crop_is_center_cropped_as_in_torchvision():
    strip = torch.empty(3, 10, 400, dtype=torch.uint8)
    expected = v2.RandomResizedCrop(8, (0.9, 1.0)).make_params([strip])
    box = RandomResizedCrop(8, (0.9, 1.0), seed=1).box(10, 400, (0, 0))
    assert box == tuple(expected[name] for name in ("top", "left", "height", "width"))


def test_pixels_equal_open_clips_transform_within_one_gray_level(shards, monkeypatch):
    jpeg = Shards(shards).sample(3)[0]
    crop = RandomResizedCrop(32, (0.5, 1.0), seed=1)
    pil_image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    image = torch.from_numpy(np.array(pil_image)).permute(2, 0, 1)
    reference = open_clip.image_transform(32, is_train=True, mean=(0, 0, 0), std=(1, 1, 1))
    box = crop.box(*image.shape[1:], (0, 3))
    monkeypatch.setattr(torchvision.transforms.RandomResizedCrop, "get_params", lambda *_: box)
    assert (crop(image, (0, 3)) - reference(pil_image) * 255).abs().max() <= 1.01
