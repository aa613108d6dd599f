"""Invalid input of a run is reported at startup, in one line."""

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
from cloob.train.distributed import DistributedContext
from cloob.train.loop import train
from cloob.train.recipe import Run
from cloob.train.setup import RunPaths, TrainOptions
from cloob.train.signals import StopRequest
from tests.helpers.recipes import recipe

VIT = {"layers": 1, "width": 16, "patch_size": 32, "head_width": 8}
RUN = Run("cc3m", "cloob", "tiny", "test", 1)


@pytest.fixture
def error_at_start(shards, model, context, tmp_path):
    """A function that starts a run and returns its error message."""

    def start(validation=shards, architecture=model, context=context, **changes):
        paths = RunPaths(shards, validation, tmp_path / "run")
        with pytest.raises(InputError) as error:
            train(RUN, recipe(**changes), architecture, paths, context, StopRequest(), TrainOptions())
        assert len(str(error.value).splitlines()) == 1
        assert list((tmp_path / "run").rglob("*.pt")) == []
        return str(error.value)

    return start


def test_the_recipe_is_checked_with_model_and_processes(error_at_start):
    message = error_at_start(micro_batch_size=1)
    assert "micro_batch_size: 1 is too small for the BatchNorm layers of the model" in message


@pytest.mark.parametrize(
    "vision", [{"image_size": size} for size in (32, 64, 96)] + [{"image_size": 32} | VIT]
)
def test_the_minimum_micro_batch_size_is_that_of_torchs_batchnorm(model, vision):
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


def write_corpus(folder, pairs):
    """Shards with identical pairs; returns the manifest."""
    image = io.BytesIO()
    Image.new("RGB", (56, 40)).save(image, "JPEG")
    digest = sha256(image.getvalue()).hexdigest()
    samples = [Sample(f"{index:04d}", image.getvalue(), "a cat", digest, 56, 40) for index in range(pairs)]
    entry = write_shard(folder / "000000.tar", samples)
    write_json(folder / "shards.json", {"samples": pairs, "bytes": 0, "sha256": "0", "shards": [entry]})
    return folder / "shards.json"


def test_a_single_validation_pair_is_rejected(error_at_start, tmp_path):
    path = write_corpus(tmp_path, 1)
    assert error_at_start(validation=path).startswith(f"{path}: 1 pairs, but validation needs at least 2")


def test_every_process_needs_a_validation_pair(error_at_start, tmp_path):
    path = write_corpus(tmp_path, 3)
    context = DistributedContext(0, 4, torch.device("cpu"))
    message = error_at_start(validation=path, context=context, micro_batch_size=2)
    assert "3 pairs, but validation needs at least 4" in message


def test_two_validation_pairs_are_enough(shards, model, context, tmp_path):
    paths = RunPaths(shards, write_corpus(tmp_path, 2), tmp_path / "run")
    assert train(RUN, recipe(epochs=1), model, paths, context, StopRequest(), TrainOptions())


@pytest.mark.parametrize(
    ("architecture", "message"), [("RN51", "not a model of open_clip"), ("no.json", "No such file")]
)
def test_an_unknown_architecture_is_named(error_at_start, architecture, message):
    assert error_at_start(architecture=architecture).startswith(f"{architecture}: {message}")


def test_a_warm_up_that_ends_after_the_training_is_a_warning(shards, model, context, tmp_path, capsys):
    paths = RunPaths(shards, shards, tmp_path / "run")
    once = recipe(epochs=1, warmup_steps=2)
    assert train(RUN, once, model, paths, context, StopRequest(), TrainOptions())
    warning = "warning: recipe.warmup_steps: 2, but the run has only 2 steps (1 epoch of 2); the learning "
    assert capsys.readouterr().out.count(warning) == 1
