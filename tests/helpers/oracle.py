"""Reference implementation: the paper's formulas written out in float64, with loops over the pairs."""

import torch
from torch import Tensor

from cloob.objectives.registry import OBJECTIVES


def retrieval(state: Tensor, stored: Tensor, beta) -> Tensor:
    """normalize(softmax(β·state·storedᵀ)·stored)."""
    rows = []
    for x in state.double():
        weights = torch.softmax(beta * (stored.double() @ x), dim=0)
        retrieved = weights @ stored.double()
        rows.append(retrieved / retrieved.norm())
    return torch.stack(rows)


def _one_sided(anchors: Tensor, positives: Tensor, inv_temperature, leave_one_out: bool) -> Tensor:
    losses = []
    for i, anchor in enumerate(anchors):
        logits = inv_temperature * (positives @ anchor)
        denominator = torch.cat([logits[:i], logits[i + 1 :]]) if leave_one_out else logits
        losses.append(denominator.logsumexp(dim=0) - logits[i])
    return torch.stack(losses).mean()


def info_nce(anchors: Tensor, positives: Tensor, inv_temperature) -> Tensor:
    """−mean ln(exp(positive) / Σ over all)."""
    return _one_sided(anchors.double(), positives.double(), inv_temperature, leave_one_out=False)


def info_loob(anchors: Tensor, positives: Tensor, inv_temperature) -> Tensor:
    """−mean ln(exp(positive) / Σ over the negatives)."""
    return _one_sided(anchors.double(), positives.double(), inv_temperature, leave_one_out=True)


def loss(image: Tensor, text: Tensor, objective: str, inv_temperature, beta=None) -> Tensor:
    """The loss of an objective, in the scale of the authors' code."""
    x, y = image.double(), text.double()
    entry = OBJECTIVES[objective]
    pairs = {"image": (x, y), "text": (y, x)}
    if entry.hopfield:
        pairs["image"] = retrieval(x, x, beta), retrieval(y, x, beta)  # U_x, U_y
        pairs["text"] = retrieval(y, y, beta), retrieval(x, y, beta)  # V_y, V_x
    one_sided = {"infonce": info_nce, "infoloob": info_loob}[entry.loss]
    both = one_sided(*pairs["image"], inv_temperature) + one_sided(*pairs["text"], inv_temperature)
    return both / 2 if entry.loss == "infonce" else both / inv_temperature
