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
def test_crops_are_distributed_as_torchvisions(height, width):
    ours = RandomResizedCrop(224, (0.6, 1.0), seed=1)
    theirs = v2.RandomResizedCrop(224, (0.6, 1.0))
    image = torch.empty(3, height, width, dtype=torch.uint8)
    torch.manual_seed(0)
    names = ("top", "left", "height", "width")
    expected = np.array([[theirs.make_params([image])[name] for name in names] for _ in range(2000)])
    found = np.array([ours.box(height, width, (0, index)) for index in range(2000)])
    for column, name in enumerate(names):
        assert stats.ks_2samp(found[:, column], expected[:, column]).pvalue > 1e-3, name


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (10, 400), (400, 10), (375, 500)])
def test_a_crop_lies_within_its_image_whatever_its_shape(height, width):
    crop = RandomResizedCrop(8, (0.9, 1.0), seed=1)
    for index in range(200):
        top, left, rows, columns = crop.box(height, width, (0, index))
        assert 0 <= top < top + rows <= height
        assert 0 <= left < left + columns <= width


def test_no_crop_fits_a_strip_which_is_cut_at_its_centre_as_torchvision_does():
    strip = torch.empty(3, 10, 400, dtype=torch.uint8)
    expected = v2.RandomResizedCrop(8, (0.9, 1.0)).make_params([strip])
    found = RandomResizedCrop(8, (0.9, 1.0), seed=1).box(10, 400, (0, 0))
    assert found == tuple(expected[name] for name in ("top", "left", "height", "width"))


def test_pixels_are_those_of_open_clips_transform_within_a_level_of_grey(shards, monkeypatch):
    jpeg = Shards(shards).sample(3)[0]
    ours = RandomResizedCrop(32, (0.5, 1.0), seed=1)
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    theirs = open_clip.image_transform(32, is_train=True, mean=(0, 0, 0), std=(1, 1, 1))
    box = ours.box(*image.shape[1:], (0, 3))
    monkeypatch.setattr(torchvision.transforms.RandomResizedCrop, "get_params", lambda *_: box)
    assert (ours(image, (0, 3)) - theirs(picture) * 255).abs().max() <= 1.01
