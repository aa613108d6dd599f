"""The processes of a group, each with its rows of one batch: rows exchanged with their gradients."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class Ranks:
    """Who holds which rows of the batch: this rank's begin at `first`, all of them are `number`."""

    def __init__(self, rows: int, group: dist.ProcessGroup | None, device: torch.device) -> None:
        self.group = group
        self.alone = group is None or dist.get_world_size(group) == 1
        self.counts, self.first = [rows], 0
        if not self.alone:
            counts = torch.empty(dist.get_world_size(group), dtype=torch.long, device=device)
            dist.all_gather_into_tensor(counts, torch.tensor([rows], device=device), group=group)
            self.counts = counts.tolist()
            self.first = sum(self.counts[: dist.get_rank(group)])
        self.number = sum(self.counts)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks (N, d), with gradient."""
        return rows if self.alone else _Gather.apply(rows, self.counts, self.group)

    def total(self, part: Tensor) -> Tensor:
        """The sum of the ranks' parts of the loss."""
        return part if self.alone else _Total.apply(part, self.group)


class _Gather(torch.autograd.Function):
    """Forward: every rank's rows, padded to equal numbers on the way. Backward: the sum over the ranks."""

    @staticmethod
    def forward(ctx, rows: Tensor, counts: list[int], group: dist.ProcessGroup):
        ctx.counts, ctx.group, ctx.rows = counts, group, len(rows)
        gathered = rows.new_empty(len(counts) * max(counts), rows.shape[1])
        dist.all_gather_into_tensor(gathered, _padded(rows, max(counts)), group=group)
        return torch.cat([part[:n] for part, n in zip(gathered.chunk(len(counts)), counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        parts = torch.cat([_padded(part, max(ctx.counts)) for part in gradient.split(ctx.counts)])
        own = gradient.new_empty(max(ctx.counts), gradient.shape[1])
        dist.reduce_scatter_tensor(own, parts, group=ctx.group)
        return own[: ctx.rows], None, None


class _Total(torch.autograd.Function):
    """Forward: the sum over the ranks. Backward: each rank's part has the gradient of the sum."""

    @staticmethod
    def forward(ctx, part: Tensor, group: dist.ProcessGroup):
        total = part.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        return gradient, None


def _padded(rows: Tensor, number: int) -> Tensor:
    return F.pad(rows, (0, 0, 0, number - len(rows)))
