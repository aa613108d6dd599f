import errno
import os
import re
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist

from cloob.common.data_loading import kill_workers_on_exit
from cloob.common.errors import InputError, user_message
from cloob.models.config import model_config
from cloob.models.preprocessing import tokenizer_for
from cloob.shards.reader import Shards
from cloob.train.augmentation import RandomResizedCrop
from cloob.train.data import Pairs, check_replaced, collate, training_loader
from cloob.train.distributed import World
from cloob.train.order import BatchOrder
from tests.helpers.io_errors import ERRNO_NAMES, fail_reads_below, no_free_descriptors
from tests.helpers.recipes import recipe


@pytest.fixture
def pairs(shards, model):
    config = model_config(model)
    return Pairs(Shards(shards), RandomResizedCrop(32, (0.5, 1.0), seed=7), tokenizer_for(config))


def test_a_pair_is_an_image_of_bytes_and_the_tokens_of_its_caption(pairs):
    image, tokens, replaced = pairs[(0, [3])]
    assert replaced is None
    assert (image.shape, image.dtype) == ((3, 32, 32), torch.uint8)
    assert torch.equal(tokens, pairs.tokenizer([pairs.shards.caption(3)])[0])


def test_tokens_are_filled_up_to_the_longest_caption_of_the_batch(pairs):
    slots = [(0, [0]), (0, [1]), (0, [2])]
    _, tokens, _ = collate([pairs[slot] for slot in slots])
    captions = [pairs.shards.caption(index) for _, [index] in slots]
    assert torch.equal(tokens, pairs.tokenizer(captions))
    assert tokens.shape[1] == max(len(pairs[slot][1]) for slot in slots)


def test_the_crop_is_a_function_of_seed_epoch_and_pair_whoever_loads_it(pairs):
    first = pairs[(0, [3])][0]
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    assert torch.equal(pairs[(0, [3])][0], first)
    assert torch.equal(torch.random.get_rng_state(), before)  # and it disturbs no other generator
    assert not torch.equal(pairs[(1, [3])][0], first)


def order(pairs):
    return BatchOrder(len(pairs), recipe(), 5, 0, World(0, 1, torch.device("cpu")))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2, 5])  # of two shards
def test_workers_change_nothing(pairs, workers):
    reference = [torch.stack([pairs[slot][0] for slot in batch]) for batch in order(pairs)]
    loaded = [images for images, _, _ in training_loader(pairs, order(pairs), workers)]
    assert all(torch.equal(*both) for both in zip(reference, loaded, strict=True))


def test_an_image_that_does_not_decode_is_replaced_by_its_substitute_and_counted(pairs, capfd, monkeypatch):
    read = pairs.shards.sample
    bad = {3: b"<html>not found</html>", 4: b"", 7: b"\xff\xd8\xff", 21: read(21)[0][:300]}

    def sample(index):
        return bad.get(index, read(index)[0]), *read(index)[1:]

    whole = [pairs[(0, [index])] for index in range(22)]
    monkeypatch.setattr(pairs.shards, "sample", sample)
    for slot, used in (([3, 9], 9), ([4, 21, 7, 2], 2), ([5, 3], 5)):
        image, tokens, replaced = pairs[(0, slot)]
        assert torch.equal(image, whole[used][0])
        assert torch.equal(tokens, whole[used][1])
        assert replaced == (None if used == slot[0] else slot[0])
    assert collate([pairs[(0, slot)] for slot in ([3, 9], [5, 3], [4, 1])])[2] == [3, 4]
    printed = capfd.readouterr().out
    for index in (3, 4, 7, 21):  # once each, however often they are asked for
        assert printed.count(f"warning: pair {index} of ") == 1
    with pytest.raises(InputError, match="none of 2 images decodes"):
        pairs[(0, [3, 4])]


@pytest.mark.parametrize("name", ERRNO_NAMES)
def test_a_shard_that_cannot_be_read_is_no_bad_image(pairs, monkeypatch, name, capfd):
    number = getattr(errno, name)
    fail_reads_below(monkeypatch, pairs.shards.path.parent, number)
    with pytest.raises(OSError) as failed:
        pairs[(0, [3, 9])]
    assert user_message(failed.value).startswith(f"{pairs.shards.tars[0]}: {os.strerror(number)}; ")
    assert capfd.readouterr().out == ""


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_open_files_end_the_loading_with_the_name_of_the_shard(pairs, workers):
    class Exhausted(Pairs):
        def __getitem__(self, slot):
            with no_free_descriptors():
                return super().__getitem__(slot)

    exhausted = Exhausted(pairs.shards, pairs.transform, pairs.tokenizer)
    with pytest.raises(OSError) as failed, kill_workers_on_exit():
        list(training_loader(exhausted, order(pairs), workers))
    assert re.search(r"/00000\d\.tar: Too many open files; raise the limit", user_message(failed.value))


def test_more_replaced_pairs_than_the_share_of_a_batch_name_the_shard(pairs):
    world, shards = World(0, 1, torch.device("cpu")), pairs.shards
    with joined_alone():
        assert check_replaced(shards, [3], 100, 0.02, world) == 1
        assert check_replaced(shards, [3, 13], 100, 0.02, world) == 2
        with pytest.raises(InputError) as changed:
            check_replaced(shards, [3, 13, 14], 100, 0.02, world)
    assert str(changed.value).startswith(
        f"{shards.tars[1]}: changed after packing: 2 of its pairs do not decode; 3 of the 100 pairs of "
        "a batch had to be replaced, more than train.max_replaced_fraction (0.02) allows; run `cloob shards verify`"
    )


@contextmanager
def joined_alone():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()
