"""The gradient of all parameters in one tensor, summed over the processes while the backward pass runs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

# Few enough that each all-reduce is large (25 MB for RN50), many enough that the last one, which nothing
# overlaps, is short.
SLICES = 16


class SummedGradient:
    """The gradients of `parameters` as parts of one tensor, which is cut into slices to be all-reduced.

    Within `overlapped`, the all-reduce of a slice starts as soon as the gradients of its parameters and all
    slices before it are complete. So the order of the all-reduces is the same in every step, every process
    and a resumed run, whatever the order in which the gradients arrive. (DistributedDataParallel changes its
    buckets after the first step, so a resumed run would not be bit-identical to an uninterrupted one.)

    `parameters` are (name, parameter) pairs; those of the text encoder come first in the tensor, from last to
    first, then those of the image encoder, because that is the order in which a backward pass reaches them.

    With `reduced_dtype`, each slice is rounded to it, summed in it, and converted back: half the bytes for
    bfloat16. Of P processes with gradients g_p, rounding P times to a relative precision u (2^-8 for
    bfloat16) moves the sum by at most about P u Σ|g_p|, element by element.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, Tensor]],
        slices: int = SLICES,
        reduced_dtype: torch.dtype | None = None,
    ) -> None:
        ordered = [(name, value) for name, value in parameters if value.requires_grad]
        ordered.reverse()
        ordered.sort(key=lambda item: _rank(item[0]))
        self._hold([value for _, value in ordered], slices, reduced_dtype)

    def _hold(self, ordered: list[Tensor], slices: int, reduced_dtype: torch.dtype | None) -> None:
        sizes = [parameter.numel() for parameter in ordered]
        self.values = torch.zeros(sum(sizes), dtype=ordered[0].dtype, device=ordered[0].device)
        for parameter, part in zip(ordered, self.values.split(sizes), strict=True):
            parameter.grad = part.as_strided(parameter.shape, parameter.stride())
        groups = _cut(sizes, slices)
        slice_sizes = [sum(sizes[n] for n in group) for group in groups]
        self._slices = self.values.split(slice_sizes)
        self._reduced = self._slices  # what the all-reduces sum in place: the slices, or rounded copies
        if reduced_dtype is not None:
            self._reduced = torch.empty_like(self.values, dtype=reduced_dtype).split(slice_sizes)
        self._sizes = [len(group) for group in groups]
        self._missing: list[int] = []  # gradients that each slice waits for, within `overlapped`
        self._work: list[dist.Work] = []
        for number, group in enumerate(groups):
            for index in group:
                ordered[index].register_post_accumulate_grad_hook(partial(self._complete, number))

    def zero(self) -> None:
        """Set the gradient to 0."""
        self.values.zero_()

    @contextmanager
    def overlapped(self) -> Iterator[None]:
        """The last backward pass of a step; afterwards the gradient is the sum over the processes."""
        self._missing, self._work = list(self._sizes), []
        yield
        self._missing = [0] * len(self._missing)  # some parameters have no gradient in the last backward pass
        self._reduce_complete()
        for work, values, reduced in zip(self._work, self._slices, self._reduced, strict=True):
            work.wait()
            if reduced is not values:
                values.copy_(reduced)
        self._missing = []

    def _complete(self, number: int, _: Tensor) -> None:
        """Hook of a parameter of slice `number`, after its gradient was accumulated."""
        if self._missing:
            self._missing[number] -= 1
            self._reduce_complete()

    def _reduce_complete(self) -> None:
        while len(self._work) < len(self._slices) and self._missing[len(self._work)] == 0:
            values, reduced = (parts[len(self._work)] for parts in (self._slices, self._reduced))
            if reduced is not values:
                reduced.copy_(values)
            work = dist.all_reduce(reduced, async_op=True)
            assert work is not None
            self._work.append(work)


def _rank(name: str) -> int:
    """The place of a parameter in the order in which a backward pass completes the gradients, roughly."""
    if name == "logit_scale":
        return 3  # without a gradient except in the first micro-batch
    if name.startswith("visual."):
        return 2
    return 1 if "embedding" in name else 0


def _cut(sizes: list[int], slices: int) -> list[list[int]]:
    """Consecutive indices of `sizes` in at most `slices` groups, whose sums are about equal."""
    groups: list[list[int]] = []
    total, position = sum(sizes), 0
    for index, size in enumerate(sizes):
        if not groups or position * slices >= len(groups) * total:
            groups.append([])
        groups[-1].append(index)
        position += size
    return groups
