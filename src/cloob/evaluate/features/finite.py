"""Detection of features that are not finite."""

import torch
from torch import Tensor

CHUNK_ROWS = 1024
"""Rows that are processed at once: `isfinite` alone makes copies as large as its argument."""


def count_non_finite_rows(features: Tensor) -> int:
    """The number of rows of a tensor (N, …) with a value that is infinite or not a number."""
    return sum(
        int((~torch.isfinite(rows)).flatten(start_dim=1).any(dim=1).sum())
        for rows in features.split(CHUNK_ROWS)
    )
