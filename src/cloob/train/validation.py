"""Retrieval on held-out captioned images: does an image find its caption, and a caption its image?"""

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from cloob.encoder import normalise_pixels
from cloob.train.data import Pairs, collate
from cloob.train.distributed import World

_TILE = 1024  # rows of similarities held at once


def ranks_of_matches(queries: Tensor, targets: Tensor) -> Tensor:
    """The rank (1 = best) of target i among all targets, by similarity to query i.

    queries, targets: (N, d) -> (N,) int64. Targets that tie with the match rank after it.
    """
    ranks = []
    for start in range(0, len(queries), _TILE):
        similar = queries[start : start + _TILE] @ targets.T  # (tile, N)
        own = similar.diagonal(offset=start).unsqueeze(1)
        ranks.append((similar > own).sum(1) + 1)
    return torch.cat(ranks)


def retrieval_metrics(image: Tensor, text: Tensor) -> dict[str, float]:
    """R@1, R@5, R@10, mean and median rank in both directions, as the authors report while training.

    image, text: (N, d) normalised embeddings of N pairs.
    """
    metrics: dict[str, float] = {}
    for name, queries, targets in (("image_to_text", image, text), ("text_to_image", text, image)):
        ranks = ranks_of_matches(queries, targets).double()
        for k in (1, 5, 10):
            metrics[f"{name}_r{k}"] = float((ranks <= k).double().mean())
        metrics[f"{name}_mean_rank"] = float(ranks.mean())
        metrics[f"{name}_median_rank"] = float(ranks.quantile(0.5))
    return metrics


@torch.inference_mode()
def validate(model: nn.Module, pairs: Pairs, world: World, batch: int, workers: int) -> dict[str, float]:
    """Embed all pairs, shared among the processes, and measure retrieval; leaves `model` in training mode."""
    model.eval()
    mine = np.arange(len(pairs))[world.rank :: world.processes]
    loader = DataLoader(
        Subset(pairs, [(0, int(index)) for index in mine]),
        batch_size=batch,
        num_workers=workers,
        collate_fn=collate,
    )
    image, text = [], []
    for pixels, tokens, _ in loader:
        image.append(model.encode_image(normalise_pixels(pixels.to(world.device)), normalize=True).float())
        text.append(model.encode_text(tokens.to(world.device), normalize=True).float())
    model.train()
    return retrieval_metrics(*(_gathered(torch.cat(rows), len(pairs), world) for rows in (image, text)))


def _gathered(rows: Tensor, total: int, world: World) -> Tensor:
    """Undo the round-robin sharing: each process's rows -> all rows (total, d), in order."""
    longest = -(-total // world.processes)
    padded = torch.zeros(longest, rows.shape[1], device=rows.device)
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world.processes)]
    dist.all_gather(parts, padded)
    return torch.stack(parts, dim=1).flatten(0, 1)[:total]
