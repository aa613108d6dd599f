"""The objectives of the CLOOB paper (arXiv 2110.11316): Hopfield retrieval, InfoNCE and InfoLOOB.

    U_x = softmax(β x Uᵀ) U, normalised again                              hopfield_retrieval
    InfoNCE  = − mean_i ln [ exp(x_i·y_i/τ) / Σ_j exp(x_i·y_j/τ) ]         info_nce
    InfoLOOB = − mean_i ln [ exp(x_i·y_i/τ) / Σ_{j≠i} exp(x_i·y_j/τ) ]     info_loob

`contrastive_loss` puts them together, in the scale of the authors' code.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

OBJECTIVES = ("infonce", "infonce_hopfield", "infoloob", "infoloob_hopfield")

Scalar = float | Tensor


def hopfield_retrieval(state: Tensor, stored: Tensor, beta: Scalar) -> Tensor:
    """Retrieve each state pattern from the stored ones: normalise(softmax(β·state·storedᵀ)·stored).

    state (n, d), stored (m, d) → (n, d), rows of unit length.
    """
    state, stored = _full(state), _full(stored)
    return F.normalize(torch.softmax(beta * (state @ stored.T), dim=1) @ stored, dim=1)


def info_nce(anchors: Tensor, positives: Tensor, inverse_temperature: Scalar) -> Tensor:
    """InfoNCE of anchors (N, d) and positives (N, d), row i with row i: a scalar, not multiplied by τ."""
    logits = inverse_temperature * (_full(anchors) @ _full(positives).T)
    return (logits.logsumexp(dim=1) - logits.diagonal()).mean()


def info_loob(anchors: Tensor, positives: Tensor, inverse_temperature: Scalar) -> Tensor:
    """InfoLOOB of anchors (N, d) and positives (N, d), row i with row i: a scalar, not multiplied by τ."""
    logits = inverse_temperature * (_full(anchors) @ _full(positives).T)
    matched = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    return (logits.masked_fill(matched, -torch.inf).logsumexp(dim=1) - logits.diagonal()).mean()


def contrastive_loss(
    image: Tensor,
    text: Tensor,
    *,
    objective: str,
    inverse_temperature: Scalar,
    beta: Scalar | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """The loss of a batch of pairs, row i of `image` with row i of `text` (both N×d, L2-normalised).

    Scale: the InfoNCE objectives are the mean of the image and the text term, as in CLIP; the InfoLOOB
    objectives are τ times their sum, as in the authors' code (learning rates depend on it).

    With `group`, each rank passes its own rows, in any number. Every rank returns the loss of the whole
    batch; its backward gives each rank the exact gradient with respect to its rows, and of what the ranks
    share (temperature, β) a part: the parts sum to the gradient.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective {objective!r} is none of {', '.join(OBJECTIVES)}")
    if image.ndim != 2 or image.shape != text.shape:
        raise ValueError(f"image {tuple(image.shape)} and text {tuple(text.shape)} are not both (N, d)")
    if group is not None:
        share = 1 / dist.get_world_size(group)
        image, text = _Gather.apply(_full(image), group), _Gather.apply(_full(text), group)
        inverse_temperature = _scale_gradient(inverse_temperature, share)
        beta = _scale_gradient(beta, share)
    if len(image) < 2:
        raise ValueError("a contrastive loss needs at least 2 pairs: with one there is no negative")
    x, y = _full(image), _full(text)
    image_pair, text_pair = (x, y), (y, x)
    if objective.endswith("_hopfield"):
        if beta is None:
            raise ValueError(f"objective {objective!r} needs beta")
        image_pair = hopfield_retrieval(x, x, beta), hopfield_retrieval(y, x, beta)
        text_pair = hopfield_retrieval(y, y, beta), hopfield_retrieval(x, y, beta)
    if objective.startswith("infonce"):
        return (info_nce(*image_pair, inverse_temperature) + info_nce(*text_pair, inverse_temperature)) / 2
    return (
        info_loob(*image_pair, inverse_temperature) + info_loob(*text_pair, inverse_temperature)
    ) / inverse_temperature


def _full(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _scale_gradient(value: Scalar | None, factor: float) -> Scalar | None:
    if not isinstance(value, Tensor):
        return value
    return factor * value + (1 - factor) * value.detach()


class _Gather(torch.autograd.Function):
    """All ranks' rows; the gradient of this rank's rows is their part of the whole gradient."""

    @staticmethod
    def forward(ctx, rows, group):
        counts = [None] * dist.get_world_size(group)
        dist.all_gather_object(counts, len(rows), group=group)
        padded = F.pad(rows, (0, 0, 0, max(counts) - len(rows)))
        gathered = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(gathered, padded, group=group)
        first = sum(counts[: dist.get_rank(group)])
        ctx.mine = slice(first, first + len(rows))
        return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient):
        return gradient[ctx.mine], None
