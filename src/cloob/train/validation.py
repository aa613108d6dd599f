"""On held-out captioned images: the loss, how saturated it is, and does an image find its caption?"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import BatchSampler

from cloob.common.data_loading import BatchLoader
from cloob.metrics.retrieval import retrieval_metrics
from cloob.metrics.saturation import saturation
from cloob.models.clip import CLIPModel
from cloob.models.preprocessing import normalize_pixels
from cloob.objectives.losses import contrastive_loss
from cloob.train.data import Pairs, check_replaced, collate
from cloob.train.distributed import World
from cloob.train.order import SUBSTITUTES
from cloob.train.recipe import Recipe, Run


@torch.inference_mode()
def validate(
    model: CLIPModel,
    pairs: Pairs,
    run: Run,
    recipe: Recipe,
    workers: int,
    world: World,
    max_replaced_fraction: float = 1.0,
) -> dict[str, float]:
    """Embed all pairs, shared among the processes; loss, saturation and retrieval, the same in each process.

    The loss and the saturation are means over batches of the recipe's size, as in training (a last, smaller
    one is left out, unless it is the only one). Leaves `model` in training mode. Raises `InputError` where
    more than `max_replaced_fraction` of the pairs do not decode.

    Images are decoded and resized as in training (torchvision, uint8): faster than evaluation's transform and
    a few gray levels apart, so retrieval by `cloob evaluate image-text` can differ in the last digits.
    """
    model.eval()
    mine = range(world.rank, len(pairs), world.processes)
    slots = [(0, [(index + shift) % len(pairs) for shift in range(1 + SUBSTITUTES)]) for index in mine]
    batches = BatchSampler(slots, recipe.micro_batch_size, drop_last=False)
    image, text, replaced = [], [], []
    for pixels, tokens, bad in BatchLoader(pairs, collate, batches, workers):
        replaced += bad
        image.append(model.encode_image(normalize_pixels(pixels.to(world.device)), normalize=True).float())
        text.append(model.encode_text(tokens.to(world.device), normalize=True).float())
    model.train()
    check_replaced(pairs.shards, replaced, len(pairs), max_replaced_fraction, world)
    images, texts = (_gathered(torch.cat(rows), len(pairs), world) for rows in (image, text))
    size = min(recipe.batch_size, len(pairs))
    losses, factors = [], []
    for start in range(0, len(pairs) - size + 1, size):
        batch = images[start : start + size], texts[start : start + size]
        scales = {"inv_temperature": model.logit_scale.exp(), "beta": recipe.hopfield_beta}
        losses.append(contrastive_loss(*batch, objective=run.objective, **scales))
        factors.append(saturation(*batch, objective=run.objective, **scales))
    means = {"loss": losses, "saturation": factors}
    means = {name: float(torch.stack(values).mean()) for name, values in means.items()}
    return means | retrieval_metrics(images, texts)


def _gathered(rows: Tensor, total: int, world: World) -> Tensor:
    """Undo the round-robin sharing: each process's rows -> all rows (total, d), in order."""
    longest = -(-total // world.processes)
    padded = torch.zeros(longest, rows.shape[1], device=rows.device)
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world.processes)]
    dist.all_gather(parts, padded)
    return torch.stack(parts, dim=1).flatten(0, 1)[:total]
