"""What training cannot work with is told at its start, in one line, before anything is trained."""

import io

import pytest
from PIL import Image
from recipes import recipe

from cloob.errors import InputError
from cloob.files import write_json
from cloob.shards.writer import Sample, write_shard
from cloob.train.distributed import joined
from cloob.train.loop import Places, train
from cloob.train.recipe import Run
from cloob.train.stop import stop_request

RUN = Run("cc", "infoloob_hopfield", "tiny", "test", 1)


@pytest.fixture
def refused(shards, model, tmp_path):
    """The message of a run that ends at its start."""

    def start(validation=shards, architecture=model, **changes):
        with stop_request() as stop, joined() as world, pytest.raises(InputError) as ended:
            places = Places(shards, validation, tmp_path / "run")
            train(RUN, recipe(**changes), architecture, places, set(), 15, 0, world, stop)
        assert len(str(ended.value).splitlines()) == 1
        assert list((tmp_path / "run").rglob("*.pt")) == []
        return str(ended.value)

    return start


def test_a_micro_batch_of_one_image_has_no_statistics(refused, model):
    assert f"BatchNorm layers of {model} need 2 images or more" in refused(micro_batch=1)


def test_a_single_held_out_pair_has_nothing_to_be_told_apart_from(refused, tmp_path):
    image = io.BytesIO()
    Image.new("RGB", (56, 40)).save(image, "JPEG")
    sample = Sample("0000", image.getvalue(), "a cat", "0", 56, 40)
    entry = write_shard(tmp_path / "000000.tar", [sample])
    path = tmp_path / "shards.json"
    write_json(path, {"samples": 1, "bytes": 0, "sha256": "0", "shards": [entry]})
    assert refused(validation=path).startswith(f"{path}: 1 pairs, but validation needs at least 2")


@pytest.mark.parametrize(
    ("architecture", "said"), [("RN51", "no model of open_clip"), ("no.json", "No such file")]
)
def test_an_unknown_architecture_is_named(refused, architecture, said):
    assert refused(architecture=architecture).startswith(f"{architecture}: {said}")
