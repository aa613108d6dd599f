import pytest
import torch
from recipes import recipe

from cloob.encoder import tokenizer_for
from cloob.errors import InputError
from cloob.model_config import model_config
from cloob.shards.reader import Shards
from cloob.train.augmentation import RandomResizedCrop
from cloob.train.data import Pairs, collate, training_loader
from cloob.train.distributed import World
from cloob.train.order import BatchOrder


@pytest.fixture
def pairs(shards, model):
    config = model_config(model)
    return Pairs(Shards(shards), RandomResizedCrop(32, (0.5, 1.0), seed=7), tokenizer_for(config))


def test_a_pair_is_an_image_of_bytes_and_the_tokens_of_its_caption(pairs):
    image, tokens, replaced = pairs[(0, [3])]
    assert not replaced
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
    bad = {3: b"<html>not found</html>", 4: b"", 21: read(21)[0][:300]}

    def sample(index):
        if index == 7:
            raise OSError(5, "Input/output error")
        return bad.get(index, read(index)[0]), *read(index)[1:]

    whole = [pairs[(0, [index])] for index in range(22)]
    monkeypatch.setattr(pairs.shards, "sample", sample)
    for slot, used in (([3, 9], 9), ([4, 21, 7, 2], 2), ([5, 3], 5)):
        image, tokens, replaced = pairs[(0, slot)]
        assert torch.equal(image, whole[used][0])
        assert torch.equal(tokens, whole[used][1])
        assert replaced == (used != slot[0])
    assert collate([pairs[(0, slot)] for slot in ([3, 9], [5, 3], [4, 1])])[2] == 2
    printed = capfd.readouterr().out
    for index in (3, 4, 7, 21):  # once each, however often they are asked for
        assert printed.count(f"warning: pair {index} of ") == 1
    with pytest.raises(InputError, match="none of 2 images decodes"):
        pairs[(0, [3, 4])]
