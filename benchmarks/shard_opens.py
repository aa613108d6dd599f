"""How often the loader workers of a node open shards, counted in the true order of samples.

Each worker process reads its micro-batches and requests their blocks for reading ahead, as
`cloob.shards.reader` does, and keeps so many shards open: a fixed number, or those that a hard limit on open
files allows (`cloob.common.open_files`). Counts the opens of shards that are not open, after the first half
of the steps, when each worker has used nearly all shards, and states them per second of training and node.
One process of the node is simulated. Nothing is read.
"""

import argparse
import itertools
import sys
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch

from cloob.shards.reader import READ_BLOCK
from cloob.train.distributed import DistributedContext
from cloob.train.order import BatchOrder

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.recipes import recipe

FORMERLY_OPEN = 256
REMEMBERED_BLOCKS = 8192


class Worker:
    """A loader worker that counts how often it opens a shard."""

    def __init__(self, max_open: int, samples_per_shard: int) -> None:
        self.opens, self.samples_per_shard = 0, samples_per_shard
        self.open = lru_cache(max_open)(self._open)
        self.requested: OrderedDict[int, None] = OrderedDict()

    def load(self, pairs: list[int], read_ahead: list[int]) -> None:
        """Request the blocks, then read image and caption of each pair."""
        for block in read_ahead:
            self.request(block)
        for pair in pairs:
            if pair // READ_BLOCK not in self.requested:
                self.request(pair // READ_BLOCK)
            self.open(pair // self.samples_per_shard)

    def _open(self, _: int) -> None:
        self.opens += 1

    def request(self, block: int) -> None:
        """Open the shards of a block, and remember it."""
        first = block * READ_BLOCK
        for shard in {first // self.samples_per_shard, (first + READ_BLOCK - 1) // self.samples_per_shard}:
            self.open(shard)
        self.requested[block] = None
        self.requested.move_to_end(block)
        if len(self.requested) > REMEMBERED_BLOCKS:
            self.requested.popitem(last=False)


def micro_batches(
    pairs: int, batch_size: int, micro_batch_size: int, processes: int, steps: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Pairs and blocks of the micro-batches of the first process, from the middle of the first epoch on."""
    changed = recipe(batch_size=batch_size, micro_batch_size=micro_batch_size, epochs=2)
    samples_seen = pairs // batch_size // 2 * batch_size
    context = DistributedContext(0, processes, torch.device("cpu"))
    order = BatchOrder(pairs, changed, 1, samples_seen, context)
    for sampled in itertools.islice(order, steps * order.micro_batches_per_step):
        yield [indices[0] for _, indices in sampled.samples], sampled.read_ahead


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=14_829_396)
    parser.add_argument("--samples-per-shard", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--micro-batch", type=int, default=128)
    parser.add_argument("--gpus", type=int, default=4, help="GPUs of the node, one process each")
    parser.add_argument("--pairs-per-second", type=float, default=2500, help="of one GPU")
    parser.add_argument("--workers", type=int, default=8, help="loader workers per process")
    parser.add_argument("--steps", type=int, default=4000, help="steps to simulate")
    options = parser.parse_args()
    shards = -(-options.pairs // options.samples_per_shard)
    variants = {
        f"before: {FORMERLY_OPEN} shards": FORMERLY_OPEN,
        **{f"hard limit of {limit:,} open files": min(shards, limit // 2) for limit in (1024, 2048, 1 << 20)},
    }
    seconds = (options.steps - options.steps // 2) * options.batch / options.gpus / options.pairs_per_second
    print(f"{shards:,} shards; {options.gpus * options.workers} loader workers\n")
    print("| kept open per worker | shards | opens per second and node |")
    print("|---|---|---|")
    counts = dict.fromkeys(variants, 0)
    workers = {
        name: [Worker(max_open, options.samples_per_shard) for _ in range(options.workers)]
        for name, max_open in variants.items()
    }
    sizes = options.pairs, options.batch, options.micro_batch, options.gpus
    first_counted = options.steps // 2 * (options.batch // options.micro_batch // options.gpus)
    for number, (pairs, read_ahead) in enumerate(micro_batches(*sizes, options.steps)):
        for name, group in workers.items():
            worker = group[number % options.workers]
            before = worker.opens
            worker.load(pairs, read_ahead)
            counts[name] += (worker.opens - before) * (number >= first_counted)
    for name, max_open in variants.items():
        print(f"| {name} | {max_open:,} | {options.gpus * counts[name] / seconds:,.1f} |")


if __name__ == "__main__":
    main()
