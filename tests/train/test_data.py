import itertools

import pytest
import torch

from cloob.encoder import model_config, tokenizer_for, training_transform
from cloob.errors import InputError
from cloob.shards.reader import Shards
from cloob.train.data import BatchOrder, Pairs, collate, epoch_order, training_loader


def order(samples_seen=0, rank=0, processes=1, **changes):
    settings = {"batch": 8, "epochs": 3, "seed": 5} | changes
    return BatchOrder(22, samples_seen=samples_seen, rank=rank, processes=processes, **settings)


def test_an_epoch_is_a_permutation_that_differs_by_seed_and_epoch():
    orders = [epoch_order(1000, seed, epoch).tolist() for seed, epoch in ((1, 0), (1, 1), (2, 0), (2, 1))]
    assert all(sorted(one) == list(range(1000)) for one in orders)
    assert len({tuple(one) for one in orders}) == 4
    assert epoch_order(1000, 1, 0).tolist() == orders[0]


def test_no_pair_comes_twice_within_an_epoch():
    for epoch in range(3):
        seen = [index for batch in order() for e, index in batch if e == epoch]
        assert len(seen) == len(set(seen)) == 16  # 22 pairs make two batches of 8


@pytest.mark.parametrize("processes", [2, 4])
def test_the_processes_share_each_global_batch_in_order(processes):
    shares = [list(order(rank=rank, processes=processes)) for rank in range(processes)]
    together = [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)]
    assert together == list(order())


def test_samples_seen_alone_says_where_to_go_on():
    whole = list(order())
    for steps in range(len(whole) + 1):
        assert list(order(samples_seen=steps * 8)) == whole[steps:]
        assert len(order(samples_seen=steps * 8)) == len(whole) - steps


def test_a_batch_that_cannot_be_shared_or_filled_is_refused():
    with pytest.raises(InputError, match="8 pairs cannot be shared equally by 3 processes"):
        order(processes=3)
    with pytest.raises(InputError, match="corpus holds only 22"):
        order(batch=32)


@pytest.fixture
def pairs(shards, model):
    config = model_config(model)
    return Pairs(Shards(shards), training_transform(config, (0.5, 1.0)), tokenizer_for(config), seed=7)


def test_a_pair_is_an_image_of_bytes_and_the_tokens_of_its_caption(pairs):
    image, tokens = pairs[(0, 3)]
    assert (image.shape, image.dtype) == ((3, 32, 32), torch.uint8)
    assert torch.equal(tokens, pairs.tokenizer([pairs.shards.caption(3)])[0])


def test_tokens_are_filled_up_to_the_longest_caption_of_the_batch(pairs):
    addresses = [(0, 0), (0, 1), (0, 2)]
    _, tokens = collate([pairs[address] for address in addresses])
    captions = [pairs.shards.caption(index) for _, index in addresses]
    assert torch.equal(tokens, pairs.tokenizer(captions))
    assert tokens.shape[1] == max(len(pairs[address][1]) for address in addresses)


def test_the_crop_is_a_function_of_seed_epoch_and_pair_whoever_loads_it(pairs):
    first = pairs[(0, 3)][0]
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    assert torch.equal(pairs[(0, 3)][0], first)
    assert torch.equal(torch.random.get_rng_state(), before)  # and it disturbs no other generator
    assert not torch.equal(pairs[(1, 3)][0], first)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing(pairs, workers):
    reference = [torch.stack([pairs[address][0] for address in batch]) for batch in order()]
    loaded = [images for images, _ in training_loader(pairs, order(), workers)]
    assert all(torch.equal(*both) for both in zip(reference, loaded, strict=True))
