"""The order of the samples, as a pure function of (seed, epoch, position).

A single integer, `samples_seen`, is therefore the whole state of the data, for any number of processes and
loader workers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cloob.common.errors import InputError
from cloob.shards.reader import READ_BLOCK
from cloob.train.distributed import DistributedContext
from cloob.train.read_ahead import ReadAhead
from cloob.train.recipe import Recipe

SampleKey = tuple[int, int]  # (epoch, index of the pair in the shards)
SampleWithFallbacks = tuple[int, list[int]]  # (epoch, [index, indices that replace it in turn])

# Number of fallbacks to try for a pair whose image does not decode.
MAX_FALLBACKS = 8
# Pairs per shuffle window of a stream: 256 blocks, 0.8 GB of images of 50 KB.
WINDOW = 16384
# In a small corpus, blocks are made smaller, so that every stream has at least this many.
MIN_BLOCKS_PER_STREAM = 64


@dataclass(frozen=True)
class SampledMicroBatch:
    """The pairs of a micro-batch, and blocks of the shards to request for later ones (see `ReadAhead`)."""

    samples: list[SampleWithFallbacks]
    read_ahead: list[int]


def epoch_order(pairs: int, batch_size: int, micro_batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The pairs of all steps of an epoch (0-based): (steps, batch_size), int32, without repetition.

    Reading single pairs at random would be slow, so blocks of consecutive pairs are shuffled first. Stream m
    consists of the m-th micro-batches of all steps; each stream gets its own blocks and shuffles their pairs
    within windows. So a micro-batch mixes pairs of several hundred blocks, while each block is read by one
    process within a short time. The pairs that do not fill the last batch are left out; they differ between
    epochs.

    For example, 26 pairs, batch size 8, micro-batch size 4 (3 steps, 2 streams), blocks of 4, windows of 8:

        shuffled    [8 9 10 11] [16 17 18 19] [12 13 14 15] | [24 25] [20 21 22 23] [0 1 2 3] [4 5 | 6 7]
        blocks       stream 0                               |  stream 1                            | left out

                       -------- window 1 -------   - window 2 -
        stream 0       18 10 19 16   17  9  8 11   15 12 13 14
        stream 1       21 20 25  1    0 24 23 22    2  3  5  4

                       of stream 0   of stream 1
        step 0         18 10 19 16   21 20 25  1
        step 1         17  9  8 11    0 24 23 22
        step 2         15 12 13 14    2  3  5  4
    """
    generator = np.random.default_rng([seed, epoch])
    steps, streams = pairs // batch_size, batch_size // micro_batch_size
    block = min(READ_BLOCK, max(1, pairs // (streams * MIN_BLOCKS_PER_STREAM)))
    blocks = generator.permutation(-(-pairs // block)).astype(np.int32)  # half the memory of int64
    shuffled = (blocks[:, None] * np.int32(block) + np.arange(block, dtype=np.int32)).ravel()
    shuffled = shuffled[shuffled < pairs][: steps * batch_size]
    order = shuffled.reshape(streams, steps * micro_batch_size)
    for start in range(0, order.shape[1], WINDOW):
        window = order[:, start : start + WINDOW]
        generator.permuted(window, axis=1, out=window)
    return order.reshape(streams, steps, micro_batch_size).swapaxes(0, 1).reshape(steps, batch_size)


class BatchOrder:
    """The micro-batches of one process, from `samples_seen` to the end of the run.

    Every global batch is divided into micro-batches, and each process gets the same number of consecutive
    ones. The fallbacks of a pair are the pairs at its position in the next steps of the epoch, so that no two
    pairs of a batch have the same fallback; if the epoch has too few steps, then those at the next positions
    of its micro-batch. Raises `InputError` if the corpus does not fill a batch.
    """

    def __init__(
        self, pairs: int, recipe: Recipe, seed: int, samples_seen: int, context: DistributedContext
    ) -> None:
        self.pairs, self.seed = pairs, seed
        self.batch_size, self.micro_batch_size = recipe.batch_size, recipe.micro_batch_size
        if pairs < self.batch_size:
            raise InputError(
                f"recipe.batch_size: {self.batch_size} pairs, but the corpus has only {pairs}; reduce it"
            )
        self.steps_per_epoch = pairs // self.batch_size
        self.first_step = samples_seen // self.batch_size
        self.steps = self.steps_per_epoch * recipe.epochs
        self.micro_batches_per_step = self.batch_size // self.micro_batch_size // context.world_size
        self.first_micro_batch = context.rank * self.micro_batches_per_step

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.micro_batches_per_step

    def __iter__(self) -> Iterator[SampledMicroBatch]:
        order = lru_cache(2)(self._epoch_order)  # of this epoch, and of the next one near the end
        size = self.micro_batch_size
        shifts = np.arange(1 + MAX_FALLBACKS)[:, None]
        column = np.arange(self.micro_batches_per_step * size)
        columns = column - column % size + (column + shifts // self.steps_per_epoch) % size
        read_ahead = ReadAhead(order, self.steps_per_epoch, size, WINDOW, self.first_step, self.steps)
        for step in range(self.first_step, self.steps):
            epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
            this_and_next_steps = (step_in_epoch + shifts) % self.steps_per_epoch
            with_fallbacks = order(epoch)[this_and_next_steps, columns].T
            samples = [(epoch, indices) for indices in with_fallbacks.tolist()]
            for stream in range(self.micro_batches_per_step):
                micro_batch = samples[stream * size : (stream + 1) * size]
                yield SampledMicroBatch(micro_batch, read_ahead.blocks(step, stream))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """The pairs of an epoch for this process: (steps, pairs per step and process)."""
        order = epoch_order(self.pairs, self.batch_size, self.micro_batch_size, self.seed, epoch)
        first = self.first_micro_batch * self.micro_batch_size
        return order[:, first : first + self.micro_batches_per_step * self.micro_batch_size].copy()
