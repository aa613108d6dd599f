"""What training cannot work with is told at its start, in one line, before anything is trained."""

import io
from hashlib import sha256

import pytest
import torch
from PIL import Image

from cloob.common.errors import InputError
from cloob.common.json_files import write_json
from cloob.models.clip import build_model
from cloob.models.config import min_micro_batch_size, model_config
from cloob.shards.writer import Sample, write_shard
from cloob.train.distributed import World, joined
from cloob.train.loop import Places, train
from cloob.train.recipe import Run
from cloob.train.signals import StopRequest
from tests.helpers.recipes import recipe

VIT = {"layers": 1, "width": 16, "patch_size": 32, "head_width": 8}
RUN = Run("cc3m", "cloob", "tiny", "test", 1)


@pytest.fixture
def refused(shards, model, tmp_path):
    """The message of a run that ends at its start."""

    def start(validation=shards, architecture=model, **changes):
        with joined() as world, pytest.raises(InputError) as ended:
            places = Places(shards, validation, tmp_path / "run")
            train(RUN, recipe(**changes), architecture, places, set(), 15, 0, world, StopRequest())
        assert len(str(ended.value).splitlines()) == 1
        assert list((tmp_path / "run").rglob("*.pt")) == []
        return str(ended.value)

    return start


def test_a_micro_batch_of_one_image_has_no_statistics(refused):
    assert "micro_batch_size: 1 is too small for the BatchNorm layers of the model" in refused(
        micro_batch_size=1
    )


@pytest.mark.parametrize(
    "vision", [{"image_size": size} for size in (32, 64, 96)] + [{"image_size": 32} | VIT]
)
def test_a_micro_batch_of_one_image_is_refused_where_batchnorm_refuses_it(model, vision):
    config = model_config(model)
    config["vision_cfg"] |= vision
    images = torch.zeros(1, 3, vision["image_size"], vision["image_size"])
    encoder = build_model(config)
    if min_micro_batch_size(config) == 1:
        encoder.encode_image(images)
    else:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            encoder.encode_image(images)
        encoder.encode_image(torch.cat([images, images]))


def with_pairs(folder, number):
    """A corpus of equal pairs."""
    image = io.BytesIO()
    Image.new("RGB", (56, 40)).save(image, "JPEG")
    digest = sha256(image.getvalue()).hexdigest()
    samples = [Sample(f"{index:04d}", image.getvalue(), "a cat", digest, 56, 40) for index in range(number)]
    entry = write_shard(folder / "000000.tar", samples)
    write_json(folder / "shards.json", {"samples": number, "bytes": 0, "sha256": "0", "shards": [entry]})
    return folder / "shards.json"


def test_a_single_held_out_pair_has_nothing_to_be_told_apart_from(refused, tmp_path):
    path = with_pairs(tmp_path, 1)
    assert refused(validation=path).startswith(f"{path}: 1 pairs, but validation needs at least 2")


def test_each_process_needs_a_held_out_pair(shards, model, tmp_path):
    places = Places(shards, with_pairs(tmp_path, 3), tmp_path / "run")
    world = World(0, 4, torch.device("cpu"))
    with pytest.raises(InputError, match="3 pairs, but validation needs at least 4"):
        train(RUN, recipe(micro_batch_size=2), model, places, set(), 15, 0, world, StopRequest())


def test_two_held_out_pairs_are_enough(shards, model, tmp_path):
    places = Places(shards, with_pairs(tmp_path, 2), tmp_path / "run")
    with joined() as world:
        assert train(RUN, recipe(epochs=1), model, places, set(), 15, 0, world, StopRequest())


@pytest.mark.parametrize(
    ("architecture", "said"), [("RN51", "not a model of open_clip"), ("no.json", "No such file")]
)
def test_an_unknown_architecture_is_named(refused, architecture, said):
    assert refused(architecture=architecture).startswith(f"{architecture}: {said}")
