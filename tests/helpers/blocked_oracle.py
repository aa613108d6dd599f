"""The objectives' formulas in float64 with autograd, in blocks of rows: a reference for large batches.

`tests.helpers.oracle` loops over the pairs. Here a block of rows is one operation, which is recomputed in the
backward pass, so that memory grows with N × (rows of a block).
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cloob.objectives.registry import OBJECTIVES


def _retrieve(state: Tensor, stored: Tensor, beta: float, rows: int) -> Tensor:
    def block(part: Tensor, stored: Tensor) -> Tensor:
        return F.normalize(torch.softmax(beta * (part @ stored.T), dim=1) @ stored, dim=1)

    return torch.cat([checkpoint(block, part, stored, use_reentrant=False) for part in state.split(rows)])


def _one_sided(anchors: Tensor, positives: Tensor, inv_temperature: float, leave_one_out: bool, rows: int):
    def block(part: Tensor, positives: Tensor, offset: int) -> Tensor:
        logits = inv_temperature * (part @ positives.T)
        index = torch.arange(len(part), device=part.device)
        positive = logits[index, offset + index]
        if leave_one_out:
            own = torch.zeros_like(logits, dtype=torch.bool)
            own[index, offset + index] = True
            logits = logits.masked_fill(own, -torch.inf)
        return (logits.logsumexp(dim=1) - positive).sum()

    total = anchors.new_zeros(())
    for number, part in enumerate(anchors.split(rows)):
        total = total + checkpoint(block, part, positives, number * rows, use_reentrant=False)
    return total / len(anchors)


def loss(
    image: Tensor, text: Tensor, objective: str, inv_temperature: float, beta: float, rows: int = 2048
) -> Tensor:
    """The loss of an objective, in the scale of the authors' code."""
    x, y = image.double(), text.double()
    entry = OBJECTIVES[objective]
    pairs = [(x, y), (y, x)]
    if entry.hopfield:
        pairs = [
            (_retrieve(x, x, beta, rows), _retrieve(y, x, beta, rows)),  # U_x, U_y
            (_retrieve(y, y, beta, rows), _retrieve(x, y, beta, rows)),  # V_y, V_x
        ]
    leave_one_out = entry.loss == "infoloob"
    both = sum(_one_sided(*pair, inv_temperature, leave_one_out, rows) for pair in pairs)
    return both / inv_temperature if leave_one_out else both / 2
