"""Which blocks of the shards to request from the file system before they are needed.

At the beginning of a shuffle window nearly all of its blocks are needed within a few steps. Reading them only
then means bursts at many times the mean rate, at the same moment in all processes. Therefore each micro-batch
comes with a share of the blocks of its stream's next window: the requests are spread evenly over all steps.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from cloob.shards.reader import READ_BLOCK


class ReadAhead:
    """The blocks to request with each micro-batch of a process.

    `epoch_order` returns the pairs of an epoch for this process, (steps, pairs per step): a stream is
    `micro_batch_size` columns, whose pairs were shuffled within windows of `window` pairs. The run begins (or
    resumes) at `first_step` and ends before step `steps`.
    """

    def __init__(
        self,
        epoch_order: Callable[[int], np.ndarray],
        steps_per_epoch: int,
        micro_batch_size: int,
        window: int,
        first_step: int,
        steps: int,
    ) -> None:
        self._epoch_order, self._steps_per_epoch = epoch_order, steps_per_epoch
        self._micro_batch_size, self._window, self._steps = micro_batch_size, window, steps
        # One window; at least one step more, in which a micro-batch may straddle two windows.
        self._distance = min(-(-window // micro_batch_size) + 1, steps_per_epoch)
        # After a start, the rest of the first window is read when it is needed. Of the window after it, the
        # shares that the steps before the start would have requested are missing: until they are made up,
        # every micro-batch comes with two shares.
        epoch, step = divmod(first_step, steps_per_epoch)
        next_window = window * (step * micro_batch_size // window + 1) // micro_batch_size  # its first step
        self._catch_up = max(1, epoch * steps_per_epoch + min(next_window, steps_per_epoch) - first_step)
        self._caught_up = first_step + self._distance
        self._shares = lru_cache(1024)(self._compute_shares)

    def blocks(self, step: int, stream: int) -> list[int]:
        """The blocks of `READ_BLOCK` pairs to request with a stream's micro-batch at a step (0-based)."""
        steps = [step + self._distance]
        if (missing := step + self._catch_up) < self._caught_up:
            steps.insert(0, missing)
        return [block for ahead in steps if ahead < self._steps for block in self._blocks_of(ahead, stream)]

    def _blocks_of(self, step: int, stream: int) -> list[int]:
        """A step's share of the blocks of its own window (or windows)."""
        epoch, step = divmod(step, self._steps_per_epoch)
        first = step * self._micro_batch_size
        windows = range(first // self._window, (first + self._micro_batch_size - 1) // self._window + 1)
        shares = [self._shares(epoch, stream, window) for window in windows]
        return [block for steps, blocks in shares for block in blocks[steps == step].tolist()]

    def _compute_shares(self, epoch: int, stream: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """The step in whose share each block of a window is, and the blocks, in the order of first use."""
        size, order = self._micro_batch_size, self._epoch_order(epoch)
        start = window * self._window
        stop = min(start + self._window, len(order) * size)
        rows = order[start // size : -(-stop // size), stream * size : (stream + 1) * size]
        pairs = rows.ravel()[start % size :][: stop - start]
        blocks, first_use = np.unique(pairs // READ_BLOCK, return_index=True)
        positions = start + np.arange(len(blocks)) * len(pairs) // len(blocks)
        return positions // size, blocks[np.argsort(first_use)]
