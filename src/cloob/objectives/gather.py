"""A batch whose rows are distributed over the ranks of a process group, with differentiable collectives."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class DistributedBatch:
    """The global batch: `local_rows` rows of it on this rank, possibly a different number on each rank.

    `offset` is the global index of this rank's first row, `global_size` the number of rows on all ranks.
    """

    def __init__(self, local_rows: int, group: dist.ProcessGroup | None, device: torch.device) -> None:
        self.group = group
        self.is_single = group is None or dist.get_world_size(group) == 1
        self.row_counts, self.offset = [local_rows], 0
        if not self.is_single:
            counts = torch.empty(dist.get_world_size(group), dtype=torch.long, device=device)
            dist.all_gather_into_tensor(counts, torch.tensor([local_rows], device=device), group=group)
            self.row_counts = counts.tolist()
            self.offset = sum(self.row_counts[: dist.get_rank(group)])
        self.global_size = sum(self.row_counts)

    def gather(self, rows: Tensor) -> Tensor:
        """The local rows (n, d) -> the rows of all ranks (N, d), with gradient."""
        return rows if self.is_single else _Gather.apply(rows, self.row_counts, self.group)

    def sum(self, partial_loss: Tensor) -> Tensor:
        """The sum of the ranks' partial losses, with gradient."""
        return partial_loss if self.is_single else _Sum.apply(partial_loss, self.group)


class _Gather(torch.autograd.Function):
    """Forward: all-gather of the rows, padded to equal numbers. Backward: reduce-scatter of the gradients."""

    @staticmethod
    def forward(ctx, rows: Tensor, counts: list[int], group: dist.ProcessGroup):
        ctx.counts, ctx.group, ctx.rows = counts, group, len(rows)
        gathered = rows.new_empty(len(counts) * max(counts), rows.shape[1])
        dist.all_gather_into_tensor(gathered, _pad_rows(rows, max(counts)), group=group)
        return torch.cat([part[:n] for part, n in zip(gathered.chunk(len(counts)), counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        parts = torch.cat([_pad_rows(part, max(ctx.counts)) for part in gradient.split(ctx.counts)])
        local = gradient.new_empty(max(ctx.counts), gradient.shape[1])
        dist.reduce_scatter_tensor(local, parts, group=ctx.group)
        return local[: ctx.rows], None, None


class _Sum(torch.autograd.Function):
    """Forward: all-reduce sum. Backward: the gradient of the sum is that of every summand."""

    @staticmethod
    def forward(ctx, partial_loss: Tensor, group: dist.ProcessGroup):
        total = partial_loss.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        return gradient, None


def _pad_rows(rows: Tensor, number: int) -> Tensor:
    """Append rows of zeros up to `number` rows."""
    return F.pad(rows, (0, 0, 0, number - len(rows)))
