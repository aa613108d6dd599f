"""What the objectives compute with: full precision, and N×N matrices that exist one tile at a time."""

import functools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# Edge of a tile: 512² scores in float32 stay in a core's cache (1 MB); a GPU wants larger products.
TILE = {"cpu": 512, "cuda": 2048}
# The logits of CLIP are made twice, unless all fit into one tile: theirs are as large as 16 MB allow.
LOGITS_TILE = 2048

Scalar = float | Tensor


def without_autocast(function: Callable) -> Callable:
    """Mixed precision must not reach the products in here, neither forward nor backward."""

    @functools.wraps(function)
    def run(*arguments, **options):
        tensor = next(one for one in (*arguments, *options.values()) if isinstance(one, Tensor))
        with torch.autocast(tensor.device.type, enabled=False):
            return function(*arguments, **options)

    return run


def full_precision(values: Tensor) -> Tensor:
    return (values if values.dtype == torch.float64 else values.float()).contiguous()


def scalar(value: Scalar, like: Tensor) -> Tensor:
    return torch.as_tensor(value).to(like)


def tile_edge(rows: Tensor) -> int:
    return TILE.get(rows.device.type, TILE["cpu"])


def blocks(rows: Tensor, edge: int) -> list[slice]:
    """As few as an edge allows, of equal size: a narrow last one would waste the products on it."""
    size = max(1, math.ceil(len(rows) / max(1, math.ceil(len(rows) / edge))))
    return [slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]


def tiles(
    left: Tensor, right: Tensor, edge: int, *, buffers: int, upper: bool = False
) -> Iterator[tuple[slice, slice, tuple[Tensor, ...]]]:
    """Rows of left, rows of right, and `buffers` pieces of memory of that shape, the same ones for each tile.

    (The pages of fresh memory cost more than the arithmetic on them.) `upper`: not those below the diagonal.
    """
    memory = left.new_empty(buffers, min(edge, len(left)), min(edge, len(right)))
    for a in blocks(left, edge):
        for b in blocks(right, edge):
            if not upper or a.start <= b.start:
                yield a, b, memory[:, : a.stop - a.start, : b.stop - b.start].unbind()
