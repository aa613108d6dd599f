"""Which pair comes when, and how it is cut: functions of (seed, epoch, position) alone.

One integer, the samples seen so far, is the whole state of the data, for any number of processes
and workers.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.io import ImageReadMode, decode_jpeg

from cloob.errors import InputError
from cloob.shards.reader import Shards

Address = tuple[int, int]  # (epoch, index of the pair in the shards)


def epoch_order(pairs: int, seed: int, epoch: int) -> np.ndarray:
    """The order of all pairs in an epoch (0-based): a permutation of `range(pairs)`, int64."""
    return np.random.default_rng([seed, epoch]).permutation(pairs)


class BatchOrder(Sampler[list[Address]]):
    """The batches of one process, from `samples_seen` to the end of the run.

    Every global batch is cut into equal consecutive parts, one per process; the pairs that do not
    fill a last batch of an epoch are left out of that epoch.
    """

    def __init__(
        self, pairs: int, *, batch: int, epochs: int, seed: int, samples_seen: int, rank: int, processes: int
    ) -> None:
        if batch % processes:
            raise InputError(f"batch: {batch} pairs cannot be shared equally by {processes} processes")
        if pairs < batch:
            raise InputError(f"batch: {batch} pairs, but the corpus holds only {pairs}; make it smaller")
        self.pairs, self.batch, self.seed = pairs, batch, seed
        self.steps_per_epoch = pairs // batch
        self.first, self.steps = samples_seen // batch, self.steps_per_epoch * epochs
        self.share = slice(rank * batch // processes, (rank + 1) * batch // processes)

    def __len__(self) -> int:
        return self.steps - self.first

    def __iter__(self) -> Iterator[list[Address]]:
        current, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.first, self.steps):
            epoch, place = divmod(step, self.steps_per_epoch)
            if epoch != current:
                current, order = epoch, epoch_order(self.pairs, self.seed, epoch)
            batch = order[place * self.batch : (place + 1) * self.batch]
            yield [(epoch, int(index)) for index in batch[self.share]]


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """The captioned images of some shards as (uint8 image (3, S, S), tokens (L,)), L as the caption needs.

    `transform` may be random: it draws from a generator seeded by (seed, epoch, index), so a pair
    is cut the same way whoever loads it.
    """

    def __init__(
        self,
        shards: Shards,
        transform: Callable[[Tensor], Tensor],
        tokenizer: Callable[[list[str]], Tensor],
        seed: int,
    ) -> None:
        self.shards, self.transform, self.tokenizer, self.seed = shards, transform, tokenizer, seed

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, address: Address) -> tuple[Tensor, Tensor]:
        epoch, index = address
        jpeg, caption, _ = self.shards.sample(index)
        image = decode_jpeg(torch.frombuffer(bytearray(jpeg), dtype=torch.uint8), mode=ImageReadMode.RGB)
        with torch.random.fork_rng(devices=[]):
            draw = np.random.SeedSequence([self.seed, epoch, index]).generate_state(1, np.uint64)[0]
            # The transform runs on the CPU; torch.manual_seed would visit the GPUs for every image.
            torch.default_generator.manual_seed(int(draw))
            image = self.transform(image)
        return image, self.tokenizer([caption])[0]


def collate(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """B pairs -> images (B, 3, S, S), tokens (B, L) filled up with zeros to the longest caption."""
    images, tokens = zip(*pairs, strict=True)
    return torch.stack(images), pad_sequence(list(tokens), batch_first=True)


def training_loader(pairs: Pairs, order: BatchOrder, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of (uint8 images (B, 3, S, S), tokens (B, longest caption)) in the given order."""
    return DataLoader(
        pairs,
        batch_sampler=order,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )
