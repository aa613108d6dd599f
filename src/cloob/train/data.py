"""How a pair is loaded: its image decoded and cut, its caption's tokens."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_jpeg

from cloob.errors import InputError
from cloob.shards.reader import Shards
from cloob.train.order import Address, BatchOrder

MicroBatch = tuple[Tensor, Tensor, int]  # uint8 images (B, 3, S, S), tokens (B, L), pairs replaced


class Pairs(Dataset[tuple[Tensor, Tensor, bool]]):
    """The captioned images of some shards as (uint8 image (3, S, S), tokens (L,), whether it is another's).

    `transform` gets the decoded image and its address, so a pair is cut the same way whoever loads it. A pair
    whose image does not decode (the shards were verified, so the
    disk went bad since) is replaced by the next one of the list that does, and named in a warning.
    """

    def __init__(
        self,
        shards: Shards,
        transform: Callable[[Tensor, Address], Tensor],
        tokenizer: Callable[[list[str]], Tensor],
    ) -> None:
        self.shards, self.transform, self.tokenizer = shards, transform, tokenizer

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, address: Address) -> tuple[Tensor, Tensor, bool]:
        _, index = address
        for shift in range(len(self)):
            jpeg, caption, key = self.shards.sample((index + shift) % len(self))
            try:
                content = torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)
                image = decode_jpeg(content, mode=ImageReadMode.RGB)
            except (RuntimeError, ValueError) as error:  # ValueError: no bytes at all
                reason = str(error).splitlines()[0]
                print(f"warning: image {key} is replaced, it does not decode: {reason}", flush=True)
                continue
            return self.transform(image, address), self.tokenizer([caption])[0], shift > 0
        raise InputError(f"{self.shards.path}: none of its images decodes; pack the shards again")


def collate(pairs: list[tuple[Tensor, Tensor, bool]]) -> MicroBatch:
    """B pairs -> images (B, 3, S, S), tokens (B, L) filled up with zeros to the longest caption, replaced."""
    images, tokens, replaced = zip(*pairs, strict=True)
    return torch.stack(images), pad_sequence(list(tokens), batch_first=True), sum(replaced)


def training_loader(pairs: Pairs, order: BatchOrder, workers: int) -> DataLoader[MicroBatch]:
    """The micro-batches of an order, made by `workers` processes (0: by this one)."""
    return DataLoader(
        pairs,
        batch_sampler=order,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )
