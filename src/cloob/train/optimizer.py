"""AdamW with the parameter groups of the authors' code."""

from collections.abc import Iterable

import torch
from torch import Tensor

from cloob.train.recipe import Recipe

# No weight decay for parameters whose name contains any of these. The authors' list lacks `downsample.1`, so
# the BatchNorm weights of the ResNet's shortcuts are decayed, there and here. The temperature is a key of the
# recipe.
NO_WEIGHT_DECAY = ("bn", "ln", "bias")


def make_optimizer(parameters: Iterable[tuple[str, Tensor]], recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the named parameters that require grad, with weight decay as in the authors' code."""
    exceptions = NO_WEIGHT_DECAY if recipe.decay_temperature else (*NO_WEIGHT_DECAY, "logit_scale")
    decayed: list[Tensor] = []
    undecayed: list[Tensor] = []
    for name, parameter in parameters:
        if parameter.requires_grad:
            (undecayed if any(part in name for part in exceptions) else decayed).append(parameter)
    groups = [
        {"params": undecayed, "weight_decay": 0.0},
        {"params": decayed, "weight_decay": recipe.weight_decay},
    ]
    return torch.optim.AdamW(
        groups,
        lr=recipe.learning_rate,
        betas=(recipe.adam_beta1, recipe.adam_beta2),
        eps=recipe.adam_eps,
        fused=True,
    )
