"""Which pair comes when: a function of (seed, epoch, position) alone.

One integer, the samples seen so far, is the whole state of the data, for any number of processes
and workers.
"""

from collections.abc import Iterator

import numpy as np

from cloob.common.errors import InputError
from cloob.shards.reader import READ_BLOCK
from cloob.train.distributed import World
from cloob.train.recipe import Recipe

Address = tuple[int, int]  # (epoch, index of the pair in the shards)
Slot = tuple[int, list[int]]  # (epoch, index of the pair and of those that replace it, in turn)

# How many replace a pair whose image does not decode, before that is an error.
SUBSTITUTES = 8

# Pairs that a micro-batch's place in the step mixes at once: 256 blocks, 0.8 GB of images of 50 KB.
WINDOW = 16384
# A small corpus is cut into blocks so small that every place has at least as many to choose from.
LEAST_BLOCKS = 64


def epoch_order(pairs: int, batch: int, micro_batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The pairs of all steps of an epoch (0-based): (steps, batch), int64, no pair twice.

    Blocks of consecutive pairs are shuffled and dealt to the places of a step, one place per micro-batch;
    within its blocks each place shuffles the pairs, a window at a time. So a micro-batch mixes pairs of some
    hundred blocks, and a block is read once, soon, and by one process. What does not fill the last
    batch, at another end of the list in every epoch, is left out.
    """
    generator = np.random.default_rng([seed, epoch])
    steps, places = pairs // batch, batch // micro_batch_size
    block = min(READ_BLOCK, max(1, pairs // (places * LEAST_BLOCKS)))
    blocks = generator.permutation(-(-pairs // block))
    order = (blocks[:, None] * block + np.arange(block)).ravel()
    order = order[order < pairs][: steps * batch].reshape(places, steps * micro_batch_size)
    for start in range(0, order.shape[1], WINDOW):
        window = order[:, start : start + WINDOW]
        generator.permuted(window, axis=1, out=window)
    return order.reshape(places, steps, micro_batch_size).swapaxes(0, 1).reshape(steps, batch)


class BatchOrder:
    """The micro-batches of one process, from `samples_seen` to the end of the run.

    Every global batch is cut into micro-batches; each process takes as many consecutive ones. A pair is
    replaced by those at its place in the next steps of its epoch: no two of a batch by the same.
    Raises `InputError` where they cannot be shared equally, or the corpus does not fill a batch.
    """

    def __init__(self, pairs: int, recipe: Recipe, seed: int, samples_seen: int, world: World) -> None:
        batch, micro_batch_size = recipe.batch_size, recipe.micro_batch_size
        places = batch // micro_batch_size
        if pairs < batch:
            raise InputError(f"batch: {batch} pairs, but the corpus holds only {pairs}; make it smaller")
        self.pairs, self.batch, self.micro_batch_size, self.seed = pairs, batch, micro_batch_size, seed
        self.steps_per_epoch = pairs // batch
        self.first, self.steps = samples_seen // batch, self.steps_per_epoch * recipe.epochs
        self.per_step = places // world.processes
        self.first_place = world.rank * self.per_step

    def __len__(self) -> int:
        return (self.steps - self.first) * self.per_step

    def __iter__(self) -> Iterator[list[Slot]]:
        current, order = -1, np.empty((0, self.batch), dtype=np.int64)
        for step in range(self.first, self.steps):
            epoch, place = divmod(step, self.steps_per_epoch)
            if epoch != current:
                current = epoch
                order = epoch_order(self.pairs, self.batch, self.micro_batch_size, self.seed, epoch)
            places = slice(
                self.first_place * self.micro_batch_size,
                (self.first_place + self.per_step) * self.micro_batch_size,
            )
            next_steps = (place + np.arange(1 + SUBSTITUTES)) % self.steps_per_epoch
            slots = [(epoch, indices) for indices in order[next_steps, places].T.tolist()]
            for start in range(0, len(slots), self.micro_batch_size):
                yield slots[start : start + self.micro_batch_size]
