"""The formulas of the paper as they stand there, in float64 and with loops over the pairs."""

import torch
from torch import Tensor

from cloob.objectives.registry import OBJECTIVES


def retrieval(state: Tensor, stored: Tensor, beta) -> Tensor:
    """softmax(β·state·storedᵀ)·stored, each row then of unit length."""
    rows = []
    for x in state.double():
        weights = torch.softmax(beta * (stored.double() @ x), dim=0)
        retrieved = weights @ stored.double()
        rows.append(retrieved / retrieved.norm())
    return torch.stack(rows)


def _term(anchors: Tensor, positives: Tensor, inv_temperature, leave_one_out: bool) -> Tensor:
    terms = []
    for i, anchor in enumerate(anchors):
        logits = inv_temperature * (positives @ anchor)
        negatives = torch.cat([logits[:i], logits[i + 1 :]]) if leave_one_out else logits
        terms.append(negatives.logsumexp(dim=0) - logits[i])
    return torch.stack(terms).mean()


def info_nce(anchors: Tensor, positives: Tensor, inv_temperature) -> Tensor:
    """−mean ln(exp(positive) / sum over all)."""
    return _term(anchors.double(), positives.double(), inv_temperature, leave_one_out=False)


def info_loob(anchors: Tensor, positives: Tensor, inv_temperature) -> Tensor:
    """−mean ln(exp(positive) / sum over the others)."""
    return _term(anchors.double(), positives.double(), inv_temperature, leave_one_out=True)


def loss(image: Tensor, text: Tensor, objective: str, inv_temperature, beta=None) -> Tensor:
    """The four objectives, in the authors' scale."""
    x, y = image.double(), text.double()
    anchors = {"image": (x, y), "text": (y, x)}
    entry = OBJECTIVES[objective]
    if entry.hopfield:
        anchors["image"] = retrieval(x, x, beta), retrieval(y, x, beta)  # U_x, U_y
        anchors["text"] = retrieval(y, y, beta), retrieval(x, y, beta)  # V_y, V_x
    term = info_nce if entry.loss == "infonce" else info_loob
    both = term(*anchors["image"], inv_temperature) + term(*anchors["text"], inv_temperature)
    return both / 2 if entry.loss == "infonce" else both / inv_temperature
