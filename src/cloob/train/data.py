"""How a pair is loaded: its image decoded and cut, its caption's tokens."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, default_collate
from torchvision.io import ImageReadMode, decode_jpeg

from cloob.common.data_loading import BatchLoader
from cloob.common.errors import InputError, io_errno
from cloob.shards.manifest import VERIFY_HINT
from cloob.shards.reader import Shards
from cloob.train.distributed import World
from cloob.train.order import Address, BatchOrder, Slot

# uint8 images (B, 3, S, S), tokens (B, L), indices of the pairs that were replaced
MicroBatch = tuple[Tensor, Tensor, list[int]]


class Pairs(Dataset[tuple[Tensor, Tensor, int | None]]):
    """The captioned images of some shards as (uint8 image (3, S, S), tokens (L,), pair that it replaces).

    `transform` gets the decoded image and its address, so a pair is cut the same way whoever loads it. A pair
    whose image does not decode or is not that of the index (the shards were verified, so it was damaged
    since) is named in a warning and replaced by the first of its slot's substitutes that does; raises
    `InputError` where none does. Where the system cannot read (a failing disk, too many open files, no
    memory) the pair is not to blame: `OSError`.
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

    def __getitem__(self, slot: Slot) -> tuple[Tensor, Tensor, int | None]:
        epoch, indices = slot
        for index in indices:
            try:
                jpeg, caption, _ = self.shards.sample(index)
                content = torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)
                image = decode_jpeg(content, mode=ImageReadMode.RGB)
            except (RuntimeError, ValueError, OSError, InputError) as error:  # ValueError: no bytes at all
                if io_errno(error) is not None:
                    raise
                self._warn(index, error)
                continue
            replaced = None if index == indices[0] else indices[0]
            return self.transform(image, (epoch, index)), self.tokenizer([caption])[0], replaced
        raise InputError(
            f"{self.shards.tar_path(indices[0])}: changed after packing: none of {len(indices)} images "
            f"decodes; {VERIFY_HINT}"
        )

    def _warn(self, index: int, error: Exception) -> None:
        if index not in self._named:
            self._named.add(index)
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            print(f"warning: pair {index} of {self.shards.path} is replaced: {reason}", flush=True)


def collate(pairs: list[tuple[Tensor, Tensor, int | None]]) -> MicroBatch:
    """B pairs -> images (B, 3, S, S), tokens (B, L) filled up with zeros to the longest caption, replaced."""
    images, tokens, replaced = zip(*pairs, strict=True)
    # Copied as it lies, channels last.
    pixels = default_collate([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
    return pixels, pad_sequence(list(tokens), batch_first=True), [one for one in replaced if one is not None]


def check_replaced(shards: Shards, replaced: list[int], batch: int, limit: float, world: World) -> int:
    """How many pairs of a global batch were replaced, over all processes; `replaced` are this process's.

    Raises `InputError`, the same in every process, where they are more than the share `limit` of the batch:
    such shards were changed since they were packed. It names the shard that has the most of them.
    """
    [number] = world.total(len(replaced))
    if number > limit * batch:
        of_shard = world.total(*shards.count_per_shard(replaced))
        most = max(of_shard)
        raise InputError(
            f"{shards.tars[of_shard.index(most)]}: changed after packing: {most:.0f} of its pairs do "
            f"not decode; {number:.0f} of the {batch} pairs of a batch had to be replaced, more than "
            f"train.max_replaced_fraction ({limit:g}) allows; {VERIFY_HINT}"
        )
    return int(number)


def training_loader(pairs: Pairs, order: BatchOrder, workers: int) -> BatchLoader:
    """The micro-batches of an order, made by `workers` processes (0: by this one)."""
    return BatchLoader(pairs, collate, order, workers, pin_memory=torch.cuda.is_available())
