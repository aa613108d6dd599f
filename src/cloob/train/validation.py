"""The loss and retrieval on held-out captioned images: does an image find its caption, and vice versa?"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from cloob.encoder import Encoder, normalise_pixels
from cloob.objective import contrastive_loss
from cloob.recall import retrieval_metrics
from cloob.train.data import Pairs, collate
from cloob.train.distributed import World
from cloob.train.order import SUBSTITUTES
from cloob.train.recipe import Recipe, Run
from cloob.train.stop import shielded


@torch.inference_mode()
def validate(
    model: Encoder, pairs: Pairs, run: Run, recipe: Recipe, workers: int, world: World
) -> dict[str, float]:
    """Embed all pairs, shared among the processes; the loss and retrieval, the same in each process.

    The loss is the objective's mean over batches of the recipe's size, as in training (a last, smaller one is
    left out, unless it is the only one). Leaves `model` in training mode.
    """
    model.eval()
    mine = range(world.rank, len(pairs), world.processes)
    loader = DataLoader(
        Subset(
            pairs, [(0, [(index + shift) % len(pairs) for shift in range(1 + SUBSTITUTES)]) for index in mine]
        ),
        batch_size=recipe.micro_batch,
        num_workers=workers,
        collate_fn=collate,
    )
    with shielded():
        batches = iter(loader)
    image, text = [], []
    for pixels, tokens, _ in batches:
        image.append(model.encode_image(normalise_pixels(pixels.to(world.device)), normalize=True).float())
        text.append(model.encode_text(tokens.to(world.device), normalize=True).float())
    model.train()
    images, texts = (_gathered(torch.cat(rows), len(pairs), world) for rows in (image, text))
    size = min(recipe.batch, len(pairs))
    losses = [
        contrastive_loss(
            images[start : start + size],
            texts[start : start + size],
            objective=run.objective,
            inverse_temperature=model.logit_scale.exp(),
            beta=recipe.hopfield_beta,
        )
        for start in range(0, len(pairs) - size + 1, size)
    ]
    return {"loss": float(torch.stack(losses).mean()), **retrieval_metrics(images, texts)}


def _gathered(rows: Tensor, total: int, world: World) -> Tensor:
    """Undo the round-robin sharing: each process's rows -> all rows (total, d), in order."""
    longest = -(-total // world.processes)
    padded = torch.zeros(longest, rows.shape[1], device=rows.device)
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world.processes)]
    dist.all_gather(parts, padded)
    return torch.stack(parts, dim=1).flatten(0, 1)[:total]
