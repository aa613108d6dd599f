"""A batch whose rows are distributed over the ranks of a process group, with differentiable collectives."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class DistributedBatch:
    """The global batch: `local_rows` rows of it on this rank, possibly a different number on each rank.

    `row_counts` are the numbers of rows of all ranks; if None, they are gathered, for which the host waits.
    `offset` is the global index of this rank's first row, `global_size` the number of rows on all ranks.
    """

    def __init__(
        self,
        local_rows: int,
        group: dist.ProcessGroup | None,
        device: torch.device,
        row_counts: Sequence[int] | None = None,
    ) -> None:
        self.group = group
        self.is_single = group is None or dist.get_world_size(group) == 1
        self.row_counts, self.offset = [local_rows], 0
        if not self.is_single:
            rank = dist.get_rank(group)
            if row_counts is None:
                counts = torch.empty(dist.get_world_size(group), dtype=torch.long, device=device)
                dist.all_gather_into_tensor(counts, torch.tensor([local_rows], device=device), group=group)
                row_counts = counts.tolist()
            elif len(row_counts) != dist.get_world_size(group) or row_counts[rank] != local_rows:
                raise ValueError(f"{local_rows} rows on rank {rank} do not match row_counts {row_counts}")
            self.row_counts = list(row_counts)
            self.offset = sum(self.row_counts[:rank])
        self.global_size = sum(self.row_counts)

    def gather(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Two tensors of local rows (n, d) -> the rows of all ranks (N, d) each, with gradient."""
        return (
            (first, second) if self.is_single else _Gather.apply(first, second, self.row_counts, self.group)
        )

    def sum(self, partial_loss: Tensor) -> Tensor:
        """The sum of the ranks' partial losses, with gradient."""
        return partial_loss if self.is_single else _Sum.apply(partial_loss, self.group)


class _Gather(torch.autograd.Function):
    """Forward: one all-gather for both tensors. Backward: one reduce-scatter of their gradients.

    Unequal numbers of rows are padded to the largest.
    """

    @staticmethod
    def forward(ctx, first: Tensor, second: Tensor, counts: list[int], group: dist.ProcessGroup):
        ctx.counts, ctx.group, ctx.rows = counts, group, len(first)
        longest, width = max(counts), first.shape[1]
        local = torch.stack([_pad_rows(first, longest), _pad_rows(second, longest)])
        gathered = first.new_empty(len(counts) * 2, longest, width)
        dist.all_gather_into_tensor(gathered, local, group=group)
        ranks = gathered.view(len(counts), 2, longest, width)
        if min(counts) == longest:
            return ranks[:, 0].reshape(-1, width), ranks[:, 1].reshape(-1, width)
        first_rows, second_rows = (
            torch.cat([ranks[rank, side, :count] for rank, count in enumerate(counts)]) for side in (0, 1)
        )
        return first_rows, second_rows

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor):
        counts, longest, width = ctx.counts, max(ctx.counts), gradients[0].shape[1]
        if min(counts) < longest:
            gradients = tuple(
                torch.cat([_pad_rows(part, longest) for part in gradient.split(counts)])
                for gradient in gradients
            )
        parts = torch.stack([gradient.view(len(counts), longest, width) for gradient in gradients], dim=1)
        local = parts.new_empty(2, longest, width)
        dist.reduce_scatter_tensor(local, parts.view(-1, longest, width), group=ctx.group)
        first, second = local[:, : ctx.rows]
        return first, second, None, None


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
    return rows if len(rows) == number else F.pad(rows, (0, 0, 0, number - len(rows)))
