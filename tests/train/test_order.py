import itertools

import numpy as np
import pytest
import torch

from cloob.common.errors import InputError
from cloob.shards.reader import READ_BLOCK
from cloob.train.distributed import World
from cloob.train.order import SUBSTITUTES, WINDOW, BatchOrder, epoch_order
from tests.helpers.recipes import recipe


def order(samples_seen=0, rank=0, processes=1, **changes):
    made = recipe(**{"batch_size": 8, "micro_batch_size": 2, "epochs": 3} | changes)
    return BatchOrder(22, made, 5, samples_seen, World(rank, processes, torch.device("cpu")))


def test_an_epoch_is_a_permutation_that_differs_by_seed_and_epoch():
    orders = [epoch_order(1024, 64, 16, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0), (2, 1))]
    assert all(one.shape == (16, 64) and sorted(one.ravel()) == list(range(1024)) for one in orders)
    assert len({tuple(one.ravel()) for one in orders}) == 4
    assert np.array_equal(epoch_order(1024, 64, 16, 1, 0), orders[0])


def test_no_pair_comes_twice_within_an_epoch():
    for epoch in range(3):
        seen = [indices[0] for batch in order() for e, indices in batch if e == epoch]
        assert len(seen) == len(set(seen)) == 16  # 22 pairs make two batches of 8


def test_other_pairs_are_left_out_in_every_epoch():
    left_out = [set(range(22)) - set(epoch_order(22, 8, 2, 5, epoch).ravel()) for epoch in range(20)]
    assert set.union(*left_out) == set(range(22))


def together(orders):
    """The global batches of some processes' micro-batches."""
    micro_batches = [list(one) for one in orders]
    per_step = orders[0].per_step
    return [
        list(itertools.chain(*(one[at + i] for one in micro_batches for i in range(per_step))))
        for at in range(0, len(micro_batches[0]), per_step)
    ]


@pytest.mark.parametrize("processes", [2, 4])
def test_the_processes_share_each_global_batch_in_order(processes):
    assert together([order(rank=rank, processes=processes) for rank in range(processes)]) == together(
        [order()]
    )


def test_substitutes_repeat_no_pair_in_a_batch():
    made = recipe(batch_size=8, micro_batch_size=2, epochs=1)
    batches = together([BatchOrder(100, made, 5, 0, World(0, 1, torch.device("cpu")))])
    assert len(batches) == 12
    for batch in batches:
        slots = [indices for _, indices in batch]
        assert all(len(indices) == 1 + SUBSTITUTES for indices in slots)
        assert len(set(itertools.chain(*slots))) == 8 * (1 + SUBSTITUTES)


def test_samples_seen_alone_says_where_to_go_on():
    whole = list(order())
    for steps in range(len(whole) // 4 + 1):
        assert list(order(samples_seen=steps * 8)) == whole[steps * 4 :]
        assert len(order(samples_seen=steps * 8)) == len(whole) - steps * 4


def test_a_batch_that_cannot_be_shared_or_filled_is_refused():
    with pytest.raises(InputError, match="corpus holds only 22"):
        order(batch_size=32)


@pytest.fixture(scope="module")
def large():
    """Two places of a step, each with three windows."""
    return epoch_order(6 * WINDOW, 512, 256, 1, 0)


def test_a_block_is_read_by_one_place_within_one_window(large):
    places = large.reshape(-1, 2, 256).swapaxes(0, 1).reshape(2, -1)
    windows = [
        place[at : at + WINDOW] // READ_BLOCK for place in places for at in range(0, len(place), WINDOW)
    ]
    read = sum(len(np.unique(window)) for window in windows)
    blocks = 6 * WINDOW // READ_BLOCK
    assert read <= blocks + len(windows)  # one may be cut where a window ends


def test_a_batch_mixes_pairs_from_all_over_the_list(large):
    companions, distances = [], []
    for micro_batch in large.reshape(-1, 256):
        blocks = np.bincount(micro_batch // READ_BLOCK)
        companions.append((blocks * (blocks - 1)).sum() / 256)
        distances.append(np.abs(np.diff(micro_batch)).mean())
    # With 63 others of its block among 16 383 of its window, a pair meets 0.98 in its micro-batch.
    assert np.mean(companions) == pytest.approx(255 * 63 / (WINDOW - 1), rel=0.1)
    # The distance between two pairs drawn at random is a third of the list.
    assert np.mean(distances) == pytest.approx(6 * WINDOW / 3, rel=0.05)
