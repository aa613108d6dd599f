"""Requests for blocks of later shuffle windows: in time, evenly spread, across epochs and restarts."""

from collections import Counter

import pytest
import torch

from cloob.shards.reader import READ_BLOCK
from cloob.train import order
from cloob.train.distributed import DistributedContext
from cloob.train.order import BatchOrder, epoch_order
from cloob.train.read_ahead import ReadAhead
from tests.helpers.recipes import recipe

WINDOW = 2048  # pairs: 32 blocks
PAIRS = 2 * (5 * WINDOW + 400)  # of two streams; the last window of each is short


def read_ahead_of(micro_batch_size: int, first_step: int = 0, pairs: int = PAIRS, epochs: int = 2):
    """The order of each epoch, (steps, 2 streams × micro-batch), and the requests of a run."""
    orders = [epoch_order(pairs, 2 * micro_batch_size, micro_batch_size, 1, epoch) for epoch in range(epochs)]
    steps = len(orders[0])
    requests = ReadAhead(
        orders.__getitem__, steps, micro_batch_size, WINDOW, first_step, steps=epochs * steps
    )
    return orders, requests


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "WINDOW", WINDOW)


def requested_and_used(micro_batch_size: int, stream: int, first_step: int, pairs: int = PAIRS):
    """The step of the first request and of the first use of each (epoch, window, block) after the start."""
    orders, requests = read_ahead_of(micro_batch_size, first_step, pairs)
    steps = len(orders[0])
    requested: dict[int, list[int]] = {}
    for step in range(first_step, 2 * steps):
        for block in requests.blocks(step, stream):
            requested.setdefault(block, []).append(step)
    first_uses: dict[tuple[int, int, int], int] = {}
    for step in range(first_step, 2 * steps):
        epoch, row = divmod(step, steps)
        columns = slice(stream * micro_batch_size, (stream + 1) * micro_batch_size)
        for position, pair in enumerate(orders[epoch][row, columns], start=row * micro_batch_size):
            first_uses.setdefault((epoch, position // WINDOW, int(pair) // READ_BLOCK), step)
    return requested, first_uses


@pytest.mark.parametrize("micro_batch_size", [64, 128, 100, 3000])  # the last ones do not divide a window
@pytest.mark.parametrize("stream", [0, 1])
def test_every_block_is_requested_before_its_first_use(micro_batch_size: int, stream: int) -> None:
    requested, first_uses = requested_and_used(micro_batch_size, stream, first_step=0)
    late = [
        (epoch, window)
        for (epoch, window, block), used in first_uses.items()
        if not any(step < used for step in requested.get(block, []))
    ]
    at_start = {(epoch, window) for (epoch, window, _), used in first_uses.items() if used == 0}
    assert set(late) <= at_start  # nothing could read these windows ahead
    assert len(late) < len(first_uses) / 4


def test_requests_are_spread_evenly_over_the_steps_also_at_the_end_of_an_epoch() -> None:
    orders, requests = read_ahead_of(micro_batch_size=128)
    steps = len(orders[0])
    per_step = [len(requests.blocks(step, 0)) for step in range(2 * steps)]
    distance = WINDOW // 128 + 1
    mean = 128 / READ_BLOCK
    # A window has 32 or 33 blocks, and 16 steps; the last one of an epoch has 3 steps.
    assert max(per_step) <= 2 * mean
    assert sum(per_step[:steps]) == pytest.approx(steps * mean, abs=10)
    assert per_step[2 * steps - distance :] == [0] * distance  # nothing after the end of the run


@pytest.mark.parametrize("first_step", [5, 12, 41, 83])
def test_after_a_restart_the_missing_requests_are_made_up(first_step: int) -> None:
    requested, first_uses = requested_and_used(128, 0, first_step)
    steps_per_window = WINDOW // 128
    late = Counter(
        used
        for (_, _, block), used in first_uses.items()
        if not any(step < used for step in requested.get(block, []))
    )
    # Blocks of the first two windows may be requested when they are needed, later ones not.
    assert all(used < first_step + 2 * steps_per_window for used in late)
    orders, requests = read_ahead_of(128, first_step)
    assert max(len(requests.blocks(step, 0)) for step in range(first_step, 2 * len(orders[0]))) <= 8


def test_a_corpus_smaller_than_a_window_is_requested_one_epoch_ahead() -> None:
    orders, requests = read_ahead_of(micro_batch_size=16, pairs=320, epochs=3)
    steps = len(orders[0])
    blocks = [block for step in range(steps) for block in requests.blocks(step, 0)]
    assert set(blocks) == set((orders[1][:, :16] // READ_BLOCK).ravel())


def test_each_process_requests_the_blocks_of_its_own_streams() -> None:
    context = [DistributedContext(rank, 2, torch.device("cpu")) for rank in range(2)]
    changed = recipe(batch_size=256, micro_batch_size=128, epochs=1)
    expected = read_ahead_of(128, epochs=1)[1]
    for stream in (0, 1):
        batches = list(BatchOrder(PAIRS, changed, 1, 0, context[stream]))
        assert [batch.read_ahead for batch in batches] == [
            expected.blocks(step, stream) for step in range(len(batches))
        ]
        assert sum(len(batch.read_ahead) for batch in batches) > 100
