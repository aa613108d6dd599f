"""How a pair is loaded: its image decoded and cut, its caption's tokens."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, default_collate
from torchvision.io import ImageReadMode, decode_jpeg

from cloob.errors import InputError
from cloob.loading import Loader
from cloob.shards.reader import Shards
from cloob.train.order import Address, BatchOrder, Slot

MicroBatch = tuple[Tensor, Tensor, int]  # uint8 images (B, 3, S, S), tokens (B, L), pairs replaced


class Pairs(Dataset[tuple[Tensor, Tensor, bool]]):
    """The captioned images of some shards as (uint8 image (3, S, S), tokens (L,), whether it is another's).

    `transform` gets the decoded image and its address, so a pair is cut the same way whoever loads it. A pair
    that cannot be read or decoded (the shards were verified, so the disk went bad since) is named in a
    warning and replaced by the first of its slot's substitutes that can; raises `InputError` where none can.
    """

    def __init__(
        self,
        shards: Shards,
        transform: Callable[[Tensor, Address], Tensor],
        tokenizer: Callable[[list[str]], Tensor],
    ) -> None:
        self.shards, self.transform, self.tokenizer = shards, transform, tokenizer
        self._named: set[int] = set()

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, slot: Slot) -> tuple[Tensor, Tensor, bool]:
        epoch, indices = slot
        for index in indices:
            try:
                jpeg, caption, _ = self.shards.sample(index)
                content = torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)
                image = decode_jpeg(content, mode=ImageReadMode.RGB)
            except (RuntimeError, ValueError, OSError, InputError) as error:  # ValueError: no bytes at all
                self._warn(index, error)
                continue
            return self.transform(image, (epoch, index)), self.tokenizer([caption])[0], index != indices[0]
        raise InputError(f"{self.shards.path}: none of {len(indices)} images decodes; pack the shards again")

    def _warn(self, index: int, error: Exception) -> None:
        if index not in self._named:
            self._named.add(index)
            reason = str(error).splitlines()[0]
            print(f"warning: pair {index} of {self.shards.path} is replaced: {reason}", flush=True)


def collate(pairs: list[tuple[Tensor, Tensor, bool]]) -> MicroBatch:
    """B pairs -> images (B, 3, S, S), tokens (B, L) filled up with zeros to the longest caption, replaced."""
    images, tokens, replaced = zip(*pairs, strict=True)
    # Copied as it lies, channels last.
    pixels = default_collate([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
    return pixels, pad_sequence(list(tokens), batch_first=True), sum(replaced)


def training_loader(pairs: Pairs, order: BatchOrder, workers: int) -> Loader:
    """The micro-batches of an order, made by `workers` processes (0: by this one)."""
    return Loader(pairs, collate, order, workers, pin_memory=torch.cuda.is_available())
