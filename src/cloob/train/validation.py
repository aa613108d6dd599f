"""Validation on held-out image-text pairs: loss, saturation and image-text retrieval."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cloob.common.data_loading import BatchLoader
from cloob.metrics.retrieval import retrieval_metrics
from cloob.metrics.saturation import saturation
from cloob.models.clip import CLIPModel
from cloob.models.preprocessing import normalize_pixels
from cloob.objectives.losses import contrastive_loss
from cloob.train.data import PairDataset, collate, count_replaced
from cloob.train.distributed import DistributedContext
from cloob.train.order import MAX_FALLBACKS
from cloob.train.precision import encoder_autocast
from cloob.train.recipe import Recipe, Run


@torch.inference_mode()
def validate(
    model: CLIPModel,
    dataset: PairDataset,
    run: Run,
    recipe: Recipe,
    workers: int,
    context: DistributedContext,
    max_replaced_fraction: float = 1.0,
) -> dict[str, float]:
    """Embed all pairs, sharded over the ranks; loss, saturation and retrieval, the same on every rank.

    Loss and saturation are means over batches of the recipe's size, as in training (a last, smaller batch is
    dropped unless it is the only one). Leaves `model` in training mode. Raises `InputError` if more than
    `max_replaced_fraction` of the pairs do not decode. The encoders compute in the precision of the recipe,
    as in training; the metrics are computed from float32 embeddings.

    Images are decoded and resized as in training (torchvision, uint8), which is faster than the transform of
    the evaluation and differs from it by a few gray levels, so the retrieval metrics of `cloob evaluate
    image-text` can differ in the last digits.
    """
    model.eval()
    pairs = len(dataset)
    local_indices = range(context.rank, pairs, context.world_size)
    samples: Any = [  # declared as integers in torch, but a sampler may yield any key
        (0, [(index + shift) % pairs for shift in range(1 + MAX_FALLBACKS)]) for index in local_indices
    ]
    size = recipe.micro_batch_size
    batches = [samples[start : start + size] for start in range(0, len(samples), size)]
    image, text, replaced = [], [], []
    for pixels, tokens, batch_replaced in BatchLoader(dataset, collate, batches, workers):
        replaced += batch_replaced
        normalized = normalize_pixels(pixels.to(context.device))
        with encoder_autocast(recipe.precision, context.device):
            image.append(model.encode_image(normalized, normalize=True).float())
            text.append(model.encode_text(tokens.to(context.device), normalize=True).float())
    model.train()
    count_replaced(dataset.shards, replaced, pairs, max_replaced_fraction, context)
    images, texts = (_gather_interleaved(torch.cat(rows), pairs, context) for rows in (image, text))
    batch_size = min(recipe.batch_size, pairs)
    losses, factors = [], []
    for start in range(0, pairs - batch_size + 1, batch_size):
        batch = images[start : start + batch_size], texts[start : start + batch_size]
        scales = {"inv_temperature": model.logit_scale.exp(), "beta": recipe.hopfield_beta}
        losses.append(contrastive_loss(*batch, objective=run.objective, **scales))
        factors.append(saturation(*batch, objective=run.objective, **scales))
    means = {
        name: float(torch.stack(values).mean())
        for name, values in (("loss", losses), ("saturation", factors))
    }
    return means | retrieval_metrics(images, texts)


def _gather_interleaved(rows: Tensor, total: int, context: DistributedContext) -> Tensor:
    """Rank r's rows r, r + world_size, … -> all rows (total, d), in order."""
    longest = -(-total // context.world_size)
    padded = torch.zeros(longest, rows.shape[1], device=rows.device)
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(context.world_size)]
    dist.all_gather(parts, padded)
    return torch.stack(parts, dim=1).flatten(0, 1)[:total]
