"""Tiled matrix products in full precision: no N×N matrix is ever stored as a whole."""

import functools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# Rows and columns of a tile. 512² float32 scores fit into a core's cache (1 MB); GPUs need larger products.
TILE_SIZE = {"cpu": 512, "cuda": 2048}
# The logits of the plain objectives are computed twice unless they fit into one tile, so it is larger: 16 MB.
LOGITS_TILE_SIZE = 2048

Scalar = float | Tensor


def without_autocast(function: Callable) -> Callable:
    """Disable autocast in the function, because its products need full precision in both passes."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        tensor = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(tensor.device.type, enabled=False):
            return function(*args, **kwargs)

    return wrapper


def full_precision(values: Tensor) -> Tensor:
    """Contiguous float32; float64 stays float64."""
    return (values if values.dtype == torch.float64 else values.float()).contiguous()


def as_scalar(value: Scalar, like: Tensor) -> Tensor:
    """A 0-dimensional tensor of the dtype and on the device of `like`."""
    if isinstance(value, Tensor):
        return value.to(like)
    # Copying it from the host would wait for the device.
    return torch.full((), value, dtype=torch.get_default_dtype(), device=like.device).to(like)


def tile_size(rows: Tensor) -> int:
    """Rows of a tile on the device of `rows`."""
    return TILE_SIZE.get(rows.device.type, TILE_SIZE["cpu"])


def row_blocks(rows: Tensor, max_size: int) -> list[slice]:
    """The fewest blocks of at most `max_size` rows, of nearly equal size: a thin last block would be slow."""
    number = max(1, math.ceil(len(rows) / max_size))
    size = max(1, math.ceil(len(rows) / number))
    return [slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]


def tiles(
    left: Tensor, right: Tensor, max_size: int, *, buffers: int, upper: bool = False
) -> Iterator[tuple[slice, slice, tuple[Tensor, ...]]]:
    """Yield (rows of `left`, rows of `right`, `buffers` scratch tensors of the tile's shape) for every tile.

    The scratch memory is reused by every tile, because first-touch page faults would cost more than the
    arithmetic. `upper` skips the tiles below the diagonal.
    """
    memory = left.new_empty(buffers, min(max_size, len(left)), min(max_size, len(right)))
    for a in row_blocks(left, max_size):
        for b in row_blocks(right, max_size):
            if not upper or a.start <= b.start:
                yield a, b, memory[:, : a.stop - a.start, : b.stop - b.start].unbind()
