"""The order of samples: permutations, blocks and windows, fallbacks, any number of processes."""

import hashlib
import itertools
import re

import numpy as np
import pytest
import torch

from cloob.common.errors import InputError
from cloob.shards.reader import READ_BLOCK
from cloob.train import order
from cloob.train.distributed import DistributedContext
from cloob.train.order import MAX_FALLBACKS, WINDOW, BatchOrder, epoch_order
from tests.helpers.recipes import recipe


def batch_order(samples_seen=0, rank=0, processes=1, pairs=22, **changes):
    """The order of 22 pairs in batches of 8, micro-batches of 2, over three epochs."""
    changed = recipe(**{"batch_size": 8, "micro_batch_size": 2, "epochs": 3} | changes)
    context = DistributedContext(rank, processes, torch.device("cpu"))
    return BatchOrder(pairs, changed, 5, samples_seen, context)


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch():
    orders = [epoch_order(1024, 64, 16, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0), (2, 1))]
    for steps in orders:
        assert steps.shape == (16, 64)
        assert sorted(steps.ravel()) == list(range(1024))
    assert len({tuple(steps.ravel()) for steps in orders}) == 4
    assert np.array_equal(epoch_order(1024, 64, 16, 1, 0), orders[0])


def test_the_example_in_the_docstring_is_an_epoch_of_seed_0(monkeypatch):
    monkeypatch.setattr(order, "MIN_BLOCKS_PER_STREAM", 3)  # blocks of 4
    monkeypatch.setattr(order, "WINDOW", 8)
    lines = re.findall(r"step \d +([\d ]+)\n", epoch_order.__doc__)
    drawn = [[int(number) for number in line.split()] for line in lines]
    assert epoch_order(26, 8, 4, seed=0, epoch=0).tolist() == drawn


def test_the_order_is_the_same_in_all_versions():
    """A resumed run continues the order of the version that started it."""
    order = epoch_order(100_000, 512, 128, seed=1, epoch=0).astype(np.int64)
    assert hashlib.sha256(order.tobytes()).hexdigest()[:16] == "ea7fc519902ffe5a"


def test_no_pair_is_repeated_within_an_epoch():
    for epoch in range(3):
        seen = [indices[0] for batch in batch_order() for e, indices in batch.samples if e == epoch]
        assert len(seen) == len(set(seen)) == 16  # 22 pairs make two batches of 8


def test_different_pairs_are_left_out_in_every_epoch():
    left_out = [set(range(22)) - set(epoch_order(22, 8, 2, 5, epoch).ravel()) for epoch in range(20)]
    assert set.union(*left_out) == set(range(22))


def global_batches(orders):
    """The global batches that the processes with these orders load together."""
    per_step = orders[0].micro_batches_per_step
    micro_batches = [[batch.samples for batch in process_order] for process_order in orders]
    return [
        list(itertools.chain(*(mine[start + i] for mine in micro_batches for i in range(per_step))))
        for start in range(0, len(micro_batches[0]), per_step)
    ]


@pytest.mark.parametrize("processes", [2, 4])
def test_the_global_batches_do_not_depend_on_the_number_of_processes(processes):
    orders = [batch_order(rank=rank, processes=processes) for rank in range(processes)]
    assert global_batches(orders) == global_batches([batch_order()])


def test_no_pair_of_a_batch_is_a_fallback_of_another():
    batches = global_batches([batch_order(pairs=100, epochs=1)])
    assert len(batches) == 12
    for batch in batches:
        samples = [indices for _, indices in batch]
        assert all(len(indices) == 1 + MAX_FALLBACKS for indices in samples)
        assert len(set(itertools.chain(*samples))) == 8 * (1 + MAX_FALLBACKS)


@pytest.mark.parametrize(("pairs", "fallbacks"), [(8, 4), (16, 8)])
def test_an_epoch_of_few_steps_has_fallbacks_within_the_micro_batch(pairs, fallbacks):
    changes = {"pairs": pairs, "micro_batch_size": 4, "epochs": 1}
    batches = global_batches([batch_order(**changes)])
    assert batches == global_batches([batch_order(rank=rank, processes=2, **changes) for rank in range(2)])
    for start in (0, 4):
        columns = {batch[start + i][1][0] for batch in batches for i in range(4)}
        for batch in batches:
            for _, indices in batch[start : start + 4]:
                assert len(set(indices)) == fallbacks
                assert set(indices) == columns


def test_samples_seen_alone_determines_the_remaining_order():
    whole = [batch.samples for batch in batch_order()]
    for steps in range(len(whole) // 4 + 1):
        assert [batch.samples for batch in batch_order(samples_seen=steps * 8)] == whole[steps * 4 :]
        assert len(batch_order(samples_seen=steps * 8)) == len(whole) - steps * 4


def test_a_corpus_smaller_than_a_batch_is_rejected():
    with pytest.raises(InputError, match="the corpus has only 22"):
        batch_order(batch_size=32)


@pytest.fixture(scope="module")
def large_epoch():
    """An epoch with two streams of three windows each."""
    return epoch_order(6 * WINDOW, 512, 256, 1, 0)


def test_a_block_is_read_by_one_stream_within_one_window(large_epoch):
    streams = large_epoch.reshape(-1, 2, 256).swapaxes(0, 1).reshape(2, -1)
    windows = [
        stream[start : start + WINDOW] // READ_BLOCK
        for stream in streams
        for start in range(0, len(stream), WINDOW)
    ]
    reads = sum(len(np.unique(window)) for window in windows)
    blocks = 6 * WINDOW // READ_BLOCK
    assert reads <= blocks + len(windows)  # a block may be divided where a window ends


def test_a_micro_batch_mixes_pairs_of_the_whole_corpus(large_epoch):
    same_block, distances = [], []
    for micro_batch in large_epoch.reshape(-1, 256):
        counts = np.bincount(micro_batch // READ_BLOCK)
        same_block.append((counts * (counts - 1)).sum() / 256)
        distances.append(np.abs(np.diff(micro_batch)).mean())
    # 63 of the 16,383 other pairs of its window are of its block, of which 0.98 fall into its micro-batch.
    assert np.mean(same_block) == pytest.approx(255 * 63 / (WINDOW - 1), rel=0.1)
    # The expected distance between two random pairs is a third of the corpus.
    assert np.mean(distances) == pytest.approx(6 * WINDOW / 3, rel=0.05)
