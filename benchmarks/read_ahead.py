"""Simulation: how much longer steps take because of reading from a shared file system, before and after.

One node trains with several GPUs on a corpus of the true size, in the true order of samples. The file system
serves requests one after another at a constant rate, and caches a block until its last use. A loader worker
requests a block (64 pairs) when it needs its first pair ("on demand"); with "read ahead" it also requests the
blocks that `cloob.train.read_ahead` adds to each micro-batch. Steps are synchronous; a step waits until the
micro-batches of all processes are loaded. The simulation begins within an epoch, as after an interruption,
and passes the end of the epoch; the first window (128 steps), which nothing could read ahead, is counted as
start-up.
"""

import argparse
import heapq
import itertools
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cloob.shards.reader import READ_BLOCK
from cloob.train.distributed import DistributedContext
from cloob.train.order import WINDOW, BatchOrder

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.recipes import recipe

# Corpora: pairs, batch size, micro-batch size (config/config.yaml).
CORPORA = {"cc3m": (2_890_000, 512, 128), "yfcc15m": (14_829_396, 1024, 128)}
PREFETCH_FACTOR = 2  # micro-batches per worker, as in cloob.common.data_loading


@dataclass(frozen=True)
class MicroBatch:
    """The distinct blocks of a micro-batch in the order of their first use."""

    blocks: list[int]
    pairs_until_next: list[int]  # from the first use of each block to that of the next one
    pairs_of_block: list[int]
    read_ahead: list[int]


@dataclass
class FileSystem:
    """Serves blocks in the order of the requests."""

    seconds_per_block: float
    arrival: dict[int, float] = field(default_factory=dict)
    unused: dict[int, int] = field(default_factory=dict)  # pairs of a block that are still to be used
    free_at: float = 0.0
    blocks_read: int = 0

    def request(self, block: int, now: float) -> None:
        """Read a block unless it was requested before."""
        if block not in self.arrival:
            self.free_at = max(self.free_at, now) + self.seconds_per_block
            self.arrival[block], self.unused[block] = self.free_at, READ_BLOCK
            self.blocks_read += 1

    def use(self, micro_batch: MicroBatch) -> None:
        """Count the uses of blocks; a block that was used completely is no longer cached."""
        for block, pairs in zip(micro_batch.blocks, micro_batch.pairs_of_block, strict=True):
            self.unused[block] = self.unused.get(block, 0) - pairs
            if self.unused[block] <= 0:
                self.arrival.pop(block, None)
                del self.unused[block]


def micro_batches_of(corpus: str, processes: int, steps: int, before_end: int) -> list[list[MicroBatch]]:
    """The micro-batches of each process, from `before_end` steps before the end of the first epoch."""
    pairs, batch_size, micro_batch_size = CORPORA[corpus]
    changed = recipe(batch_size=batch_size, micro_batch_size=micro_batch_size, epochs=2)
    samples_seen = (pairs // batch_size - before_end) * batch_size
    result = []
    for rank in range(processes):
        context = DistributedContext(rank, processes, torch.device("cpu"))
        order = BatchOrder(pairs, changed, 1, samples_seen, context)
        result.append(
            [
                _micro_batch([indices[0] for _, indices in sampled.samples], sampled.read_ahead)
                for sampled in itertools.islice(order, steps * order.micro_batches_per_step)
            ]
        )
    return result


def _micro_batch(pairs: list[int], read_ahead: list[int]) -> MicroBatch:
    blocks, first_use, counts = np.unique(
        np.array(pairs) // READ_BLOCK, return_index=True, return_counts=True
    )
    order = np.argsort(first_use)
    until_next = np.diff(first_use[order], append=len(pairs))
    return MicroBatch(blocks[order].tolist(), until_next.tolist(), counts[order].tolist(), read_ahead)


class Node:
    """The processes of a node, with their loader workers, on one file system."""

    def __init__(
        self,
        micro_batches: list[list[MicroBatch]],
        per_step: int,
        workers: int,
        decode_seconds: float,
        step_seconds: float,
        file_system: FileSystem,
        reads_ahead: bool,
    ) -> None:
        self.micro_batches, self.per_step, self.workers = micro_batches, per_step, workers
        self.decode_seconds, self.step_seconds = decode_seconds, step_seconds
        self.file_system, self.reads_ahead = file_system, reads_ahead
        self.ready: list[dict[int, float]] = [{} for _ in micro_batches]
        self.queues: dict[tuple[int, int], list[int]] = {
            (process, worker): [] for process in range(len(micro_batches)) for worker in range(workers)
        }
        self.idle = dict.fromkeys(self.queues, 0.0)  # since when
        self.events: list[tuple[float, int, tuple[int, int], int, int]] = []
        self.counter = itertools.count()

    def run(self) -> np.ndarray:
        """The start of every step, in seconds."""
        steps = len(self.micro_batches[0]) // self.per_step
        for process, batches in enumerate(self.micro_batches):
            for number in range(min(PREFETCH_FACTOR * self.workers, len(batches))):
                self._dispatch(process, number, 0.0)
        starts, previous_end = [], 0.0
        for step in range(steps):
            needed = range(step * self.per_step, (step + 1) * self.per_step)
            while not all(number in ready for ready in self.ready for number in needed):
                self._advance()
            loaded = max(ready[number] for ready in self.ready for number in needed)
            start = max(previous_end, loaded)
            starts.append(start)
            previous_end = start + self.step_seconds
            self._advance_until(start)
            for process, batches in enumerate(self.micro_batches):
                for number in needed:
                    ahead = number + PREFETCH_FACTOR * self.workers
                    if ahead < len(batches):
                        self._dispatch(process, ahead, start)
        return np.array(starts)

    def _dispatch(self, process: int, number: int, now: float) -> None:
        key = (process, number % self.workers)
        self.queues[key].append(number)
        if key in self.idle:
            self._push(max(now, self.idle.pop(key)), key, self.queues[key].pop(0), -1)

    def _push(self, time: float, key: tuple[int, int], number: int, position: int) -> None:
        heapq.heappush(self.events, (time, next(self.counter), key, number, position))

    def _advance_until(self, time: float) -> None:
        while self.events and self.events[0][0] <= time:
            self._advance()

    def _advance(self) -> None:
        """Let a worker continue until its next request to the file system, or the end of its micro-batch."""
        now, _, key, number, position = heapq.heappop(self.events)
        micro_batch = self.micro_batches[key[0]][number]
        if position < 0:
            if self.reads_ahead:
                for block in micro_batch.read_ahead:
                    self.file_system.request(block, now)
            position = 0
        is_first = True
        while position < len(micro_batch.blocks):
            block = micro_batch.blocks[position]
            if block not in self.file_system.arrival:
                if not is_first:  # other workers may send requests before this one
                    self._push(now, key, number, position)
                    return
                self.file_system.request(block, now)
            is_first = False
            pairs = micro_batch.pairs_until_next[position]
            now = max(now, self.file_system.arrival[block]) + pairs * self.decode_seconds
            position += 1
        self.file_system.use(micro_batch)
        self.ready[key[0]][number] = now
        if self.queues[key]:
            self._push(now, key, self.queues[key].pop(0), -1)
        else:
            self.idle[key] = now


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=list(CORPORA))
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[0.6, 1.0, 2.0], help="file system, GB/s per node"
    )
    parser.add_argument("--gpus", type=int, default=4, help="GPUs of the node, one process each")
    parser.add_argument("--pairs-per-second", type=float, default=2500, help="of one GPU, if it never waits")
    parser.add_argument("--image-kilobytes", type=float, default=50, help="mean size with its caption")
    parser.add_argument("--decode-ms", type=float, default=1.0, help="time of a worker per pair")
    parser.add_argument("--workers", type=int, default=8, help="loader workers per process")
    parser.add_argument("--steps", type=int, default=1500, help="steps to simulate")
    options = parser.parse_args()
    print("| corpus | GB/s | requests | steps longer by | longest wait, s | start-up, s | GB read ÷ used |")
    print("|---|---|---|---|---|---|---|")
    for corpus in options.corpora:
        _, batch_size, micro_batch_size = CORPORA[corpus]
        batches = micro_batches_of(corpus, options.gpus, options.steps, 2 * options.steps // 3)
        step_seconds = batch_size / options.gpus / options.pairs_per_second
        per_step = batch_size // micro_batch_size // options.gpus
        start_up = WINDOW // micro_batch_size
        used = options.steps * batch_size / READ_BLOCK
        for rate in options.rates:
            for reads_ahead in (False, True):
                seconds_per_block = READ_BLOCK * options.image_kilobytes / 1e6 / rate
                file_system = FileSystem(seconds_per_block)
                node = Node(
                    batches,
                    per_step,
                    options.workers,
                    options.decode_ms / 1000,
                    step_seconds,
                    file_system,
                    reads_ahead,
                )
                waits = np.diff(node.run(), prepend=-step_seconds) - step_seconds
                print(
                    f"| {corpus} | {rate:g} | {'read ahead' if reads_ahead else 'on demand'} "
                    f"| {max(0, waits[start_up:].mean()) / step_seconds:.1%} | {waits[start_up:].max():.2f} "
                    f"| {waits[:start_up].sum():.1f} | {file_system.blocks_read / used:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
