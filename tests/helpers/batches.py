"""Batches of matched image and text embeddings."""

import torch
import torch.nn.functional as F


def make_pairs(number: int, width: int = 24, seed: int = 0, dtype=torch.float32):
    """Unit vectors (number, width) for images and texts, with row i of both correlated as in training."""
    generator = torch.Generator().manual_seed(seed)
    common, image, text = torch.randn(3, number, width, generator=generator, dtype=torch.float64)
    return (
        F.normalize(common + 0.7 * image, dim=1).to(dtype).requires_grad_(),
        F.normalize(common + 0.7 * text, dim=1).to(dtype).requires_grad_(),
    )
