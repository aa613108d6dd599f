"""What no training can work with is found at its start, in one line."""

import pytest
import torch
from recipes import recipe

from cloob.encoder import build_encoder
from cloob.errors import InputError
from cloob.files import read_json, write_json
from cloob.model_config import model_config
from cloob.shards.reader import Shards
from cloob.shards.writer import Sample, write_shard
from cloob.train import loop
from cloob.train.batchnorm import check_micro_batch
from cloob.train.distributed import World, joined
from cloob.train.recipe import Run, check_recipe
from cloob.train.stop import StopRequest

RUN = Run(corpus="cc", objective="infoloob_hopfield", architecture="tiny", recipe="test", seed=3)


def train(shards, validation, model, folder, **changes):
    places = loop.Places(shards, validation, folder)
    with joined() as world:
        loop.train(RUN, recipe(**changes), model, places, set(), 15, 0, world, StopRequest())


def with_pairs(shards, folder, number):
    """The shards with their first pairs only."""
    folder.mkdir()
    samples = []
    for index in range(number):
        jpeg, caption, _ = Shards(shards).sample(index)
        samples.append(Sample(f"{index:04d}", jpeg, caption, "0", 56, 40))
    manifest = read_json(shards) | {"samples": number}
    manifest["shards"] = [write_shard(folder / "000000.tar", samples)]
    write_json(folder / "shards.json", manifest)
    return folder / "shards.json"


def test_a_micro_batch_of_one_pair_is_refused_where_batchnorm_would_fail(shards, model, tmp_path):
    with pytest.raises(
        InputError, match=r"recipe: micro_batch is 1, but has to be at least 2 for images of 32"
    ):
        train(shards, shards, model, tmp_path, micro_batch=1)
    assert not list(tmp_path.glob("checkpoints/*"))


@pytest.mark.parametrize(("size", "fits"), [(32, False), (64, True), (224, True)])
def test_a_micro_batch_of_one_pair_fits_images_that_leave_more_than_one_pixel(model, size, fits):
    config = model_config(model)
    config["vision_cfg"]["image_size"] = size
    encoder = build_encoder(config)

    def as_batchnorm_sees_it():
        encoder.encode_image(torch.zeros(1, 3, size, size))

    if fits:
        as_batchnorm_sees_it()
        check_micro_batch(encoder, size, 1)
    else:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            as_batchnorm_sees_it()
        with pytest.raises(InputError, match="at least 2"):
            check_micro_batch(encoder, size, 1)
        check_micro_batch(encoder, size, 2)


def test_a_vision_transformer_has_no_batchnorm_that_a_micro_batch_of_one_could_hurt(model):
    config = model_config(model)
    config["vision_cfg"] = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 32, "head_width": 8}
    check_micro_batch(build_encoder(config), 32, 1)


def test_a_batch_of_one_pair_is_refused():
    with pytest.raises(InputError, match="recipe: batch is 1"):
        check_recipe(recipe(batch=1, micro_batch=1))


@pytest.mark.parametrize("pairs", [1])
def test_a_validation_split_of_one_pair_is_refused(shards, model, tmp_path, pairs):
    validation = with_pairs(shards, tmp_path / "validation", pairs)
    with pytest.raises(InputError, match=f"{validation}: 1 pairs, but validation needs 2"):
        train(shards, validation, model, tmp_path / "run")


def test_two_validation_pairs_are_enough(shards, model, tmp_path):
    validation = with_pairs(shards, tmp_path / "validation", 2)
    train(shards, validation, model, tmp_path / "run", epochs=1)
    assert (tmp_path / "run" / "final.pt").exists()


def test_each_process_needs_a_validation_pair(shards, model, tmp_path):
    places = loop.Places(shards, with_pairs(shards, tmp_path / "validation", 3), tmp_path / "run")
    world = World(0, 4, torch.device("cpu"))
    with pytest.raises(InputError, match="one for each of 4 processes"):
        loop.train(RUN, recipe(), model, places, set(), 15, 0, world, StopRequest())


@pytest.mark.parametrize(
    ("architecture", "said"), [("RN51", "no model of open_clip"), ("no.json", "No such file")]
)
def test_an_unknown_architecture_is_named(shards, tmp_path, architecture, said):
    with pytest.raises(InputError, match=f"{architecture}: {said}"):
        train(shards, shards, architecture, tmp_path)
