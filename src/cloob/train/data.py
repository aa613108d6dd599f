"""Load image-text pairs: decode and crop the image, tokenize the caption."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, default_collate
from torchvision.io import ImageReadMode, decode_jpeg

from cloob.common.data_loading import BatchLoader
from cloob.common.errors import InputError, io_errno
from cloob.shards.manifest import VERIFY_HINT
from cloob.shards.reader import Shards
from cloob.train.distributed import DistributedContext
from cloob.train.order import SampledMicroBatch, SampleKey, SampleWithFallbacks

# A corpus whose decoded images take at most so many bytes is decoded once instead of once per epoch.
DECODED_BYTES = 2**28

# uint8 image (3, S, S), tokens (L,), index of the pair if it was replaced
LoadedPair = tuple[Tensor, Tensor, int | None]
# uint8 images (B, 3, S, S), tokens (B, L), indices of the replaced pairs
MicroBatch = tuple[Tensor, Tensor, list[int]]


class PairDataset(Dataset[LoadedPair]):
    """The image-text pairs of a packed corpus.

    `transform` gets the decoded image and its `SampleKey`, so that a crop does not depend on the process that
    loads it. The shards were verified, so a pair whose image does not decode or does not match the index was
    damaged afterwards: it is reported in a warning and replaced by the first of its fallbacks that decodes.
    The decoded pairs of a small corpus are kept in memory (`DECODED_BYTES`), in each process that loads them.
    Raises `InputError` if none does, and `OSError` for system errors (a failing disk, too many open files, no
    memory), which do not mean that the pair is damaged.
    """

    def __init__(
        self,
        shards: Shards,
        transform: Callable[[Tensor, SampleKey], Tensor],
        tokenizer: Callable[[list[str]], Tensor],
    ) -> None:
        self.shards, self.transform, self.tokenizer = shards, transform, tokenizer
        self._reported: set[int] = set()
        self._decoded: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, sample: SampleWithFallbacks) -> LoadedPair:
        epoch, indices = sample
        for index in indices:
            try:
                image, tokens = self._decoded.get(index) or self._decode(index)
            except (RuntimeError, ValueError, OSError, InputError) as error:  # ValueError: an empty file
                if io_errno(error) is not None:
                    raise
                self._warn(index, error)
                continue
            replaced = None if index == indices[0] else indices[0]
            return self.transform(image, (epoch, index)), tokens, replaced
        raise InputError(
            f"{self.shards.tar_path(indices[0])}: changed after packing: none of {len(set(indices))} images "
            f"decodes; {VERIFY_HINT}"
        )

    def _decode(self, index: int) -> tuple[Tensor, Tensor]:
        """Decoded image, uint8 (3, H, W), and tokens (L,) of a pair."""
        jpeg, caption = self.shards.sample(index)
        content = torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)
        pair = decode_jpeg(content, mode=ImageReadMode.RGB), self.tokenizer([caption])[0]
        if pair[0].nbytes * len(self) <= DECODED_BYTES:
            self._decoded[index] = pair
        return pair

    def _warn(self, index: int, error: Exception) -> None:
        if index not in self._reported:
            self._reported.add(index)
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            print(f"warning: pair {index} of {self.shards.path} is replaced: {reason}", flush=True)


def collate(pairs: list[LoadedPair]) -> MicroBatch:
    """B pairs -> images (B, 3, S, S), tokens (B, L) zero-padded to the longest caption, replaced indices."""
    images, tokens, replaced = zip(*pairs, strict=True)
    # The images are channels-last in memory; stacking them in that layout is a plain copy.
    pixels = default_collate([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
    padded_tokens = pad_sequence(list(tokens), batch_first=True)
    return pixels, padded_tokens, [index for index in replaced if index is not None]


def count_replaced(
    shards: Shards, replaced: list[int], batch_size: int, max_fraction: float, context: DistributedContext
) -> int:
    """The number of replaced pairs of a global batch; `replaced` has the indices of this process.

    Raises `InputError`, the same in every process, if they exceed `max_fraction` of the batch, because then
    the shards were changed after packing. The message names the shard with the most replaced pairs.
    """
    [number] = context.all_reduce_sum(len(replaced))
    check_replaced(shards, replaced, int(number), batch_size, max_fraction, context)
    return int(number)


def check_replaced(
    shards: Shards,
    replaced: list[int],
    number: int,
    batch_size: int,
    max_fraction: float,
    context: DistributedContext,
) -> None:
    """`count_replaced` if the number of replaced pairs of the global batch is known."""
    if number > max_fraction * batch_size:
        per_shard = context.all_reduce_sum(*shards.count_per_shard(replaced))
        most = max(per_shard)
        raise InputError(
            f"{shards.tars[per_shard.index(most)]}: changed after packing: {most:.0f} of its pairs do "
            f"not decode; {number} of the {batch_size} pairs of a batch had to be replaced, more than "
            f"train.max_replaced_fraction ({max_fraction:g}) allows; {VERIFY_HINT}"
        )


class _ReadingAhead(Dataset[LoadedPair]):
    """Loads the pairs of a micro-batch after requesting the blocks that later ones will need."""

    def __init__(self, dataset: PairDataset) -> None:
        self.dataset = dataset

    def __getitems__(self, micro_batch: SampledMicroBatch) -> list[LoadedPair]:
        self.dataset.shards.request_blocks(micro_batch.read_ahead)
        return [self.dataset[sample] for sample in micro_batch.samples]


def training_loader(dataset: PairDataset, order: Iterable[SampledMicroBatch], workers: int) -> BatchLoader:
    """The micro-batches of an order, loaded by `workers` processes (0: by this process)."""
    return BatchLoader(_ReadingAhead(dataset), collate, order, workers, pin_memory=torch.cuda.is_available())
