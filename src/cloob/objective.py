"""The objectives of the CLOOB paper (arXiv 2110.11316): exact, in memory linear in the batch.

    U_x = softmax(β x Uᵀ) U, normalised again                              hopfield_retrieval
    InfoNCE  = − mean_i ln [ exp(x_i·y_i/τ) / Σ_j exp(x_i·y_j/τ) ]         info_nce
    InfoLOOB = − mean_i ln [ exp(x_i·y_i/τ) / Σ_{j≠i} exp(x_i·y_j/τ) ]     info_loob

`contrastive_loss` puts them together, in the scale of the authors' code. Three facts carry the rest:

1. Both losses are functions of one number per pair, the margin m_i = ln Σ_{j≠i} exp(x_i·y_j/τ) − x_i·y_i/τ:
   InfoLOOB is its mean and InfoNCE the mean of ln(1 + exp m_i). With q_ij the softmax over j≠i, q_ii = −1,
   ∂m_i/∂x_i = Σ_j q_ij y_j / τ. InfoNCE's gradient is this times sigmoid(m_i) = 1 − p_i, the factor that
   dies as training succeeds; InfoLOOB's has no such factor. (Paper, section on InfoLOOB and saturation.)
2. A retrieved pattern is normalised, so the softmax's denominator cancels: U_x = E U, E = exp(β x Uᵀ − h),
   h_i the number that makes row i a unit vector. Its gradient G enters as D = G − (G·U_x) U_x: the scores
   β x Uᵀ receive E∘(D Uᵀ) (the softmax's usual correction is D·U_x = 0), the stored patterns Eᵀ D.
3. Whatever is N×N is made tile by tile and dropped; scores are made again in the backward pass. One Gram
   matrix X Yᵀ serves two retrievals (V_x reads its rows, U_y its columns), of X Xᵀ and Y Yᵀ half is enough.
"""

import functools
import math
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from cloob.ranks import Ranks

OBJECTIVES = ("infonce", "infonce_hopfield", "infoloob", "infoloob_hopfield")

# Edge of a tile: 512² scores in float32 stay in a core's cache (1 MB); a GPU wants larger products.
TILE = {"cpu": 512, "cuda": 2048}
# The logits of CLIP are made twice, unless all fit into one tile: theirs are as large as 16 MB allow.
LOGITS_TILE = 2048

Scalar = float | Tensor


def _without_autocast(function: Callable) -> Callable:
    """Mixed precision must not reach the products in here, neither forward nor backward."""

    @functools.wraps(function)
    def run(*arguments, **options):
        tensor = next(one for one in (*arguments, *options.values()) if isinstance(one, Tensor))
        with torch.autocast(tensor.device.type, enabled=False):
            return function(*arguments, **options)

    return run


@_without_autocast
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
    objectives are τ times their sum, as in the authors' code (learning rates depend on it). The Hopfield
    objectives need `beta`; the temperature and `beta` may be learned. Half precision is computed in float32.

    With `group`, each rank passes its own rows, in any number, and does its rows' share of the work. Every
    rank returns the loss of the whole batch; its backward, called on all ranks, gives each the exact gradient
    with respect to its rows, and of what the ranks share (temperature, β, weights) parts that sum to the
    gradient: under DistributedDataParallel, which averages, multiply the loss by the number of ranks.

    Raises ValueError for an unknown objective, shapes that do not match, fewer than two pairs.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective {objective!r} is none of {', '.join(OBJECTIVES)}")
    if image.ndim != 2 or image.shape != text.shape:
        raise ValueError(f"image {tuple(image.shape)} and text {tuple(text.shape)} are not both (N, d)")
    information, _, hopfield = objective.partition("_")
    if hopfield and beta is None:
        raise ValueError(f"objective {objective!r} retrieves from Hopfield networks and needs beta")
    x, y = _full_precision(image), _full_precision(text)
    ranks = Ranks(len(x), group, x.device)
    _check_negatives(ranks.number)
    all_x, all_y = ranks.gather(x), ranks.gather(y)
    kappa = _scalar(inverse_temperature, x)
    leave_one_out = information == "infoloob"
    if hopfield:
        beta = _scalar(beta, x)
        if ranks.alone and len(x) > 2 * _edge(x):
            both_terms = _BothHopfieldTerms.apply(x, y, kappa, beta, leave_one_out)
        else:
            if ranks.alone:
                u_x, u_y, v_x, v_y = _retrieve_small_batch(x, y, beta)
            else:
                u_x, u_y = hopfield_retrieval(x, all_x, beta), hopfield_retrieval(y, all_x, beta)
                v_x, v_y = hopfield_retrieval(x, all_y, beta), hopfield_retrieval(y, all_y, beta)
            image_term = _Term.apply(u_x, ranks.gather(u_y), kappa, leave_one_out, ranks.first)
            text_term = _Term.apply(v_y, ranks.gather(v_x), kappa, leave_one_out, ranks.first)
            both_terms = image_term + text_term
    elif ranks.alone:
        both_terms = _BothTerms.apply(x, y, kappa, leave_one_out)
    else:
        image_term = _Term.apply(x, all_y, kappa, leave_one_out, ranks.first)
        text_term = _Term.apply(y, all_x, kappa, leave_one_out, ranks.first)
        both_terms = image_term + text_term
    return ranks.total(both_terms / kappa if leave_one_out else both_terms / 2)


@_without_autocast
def hopfield_retrieval(state: Tensor, stored: Tensor, beta: Scalar) -> Tensor:
    """Retrieve each state pattern from the stored ones: normalise(softmax(β·state·storedᵀ)·stored).

    state (n, d), stored (m, d) → (n, d), rows of unit length. Where `state is stored`, half of the scores do.
    """
    itself = state is stored
    state = _full_precision(state)
    stored = state if itself else _full_precision(stored)
    return _Retrieval.apply(state, stored, _scalar(beta, state))


def info_nce(anchors: Tensor, positives: Tensor, inverse_temperature: Scalar) -> Tensor:
    """InfoNCE of anchors (N, d) and positives (N, d), row i with row i: a scalar, not multiplied by τ."""
    return _term(anchors, positives, inverse_temperature, leave_one_out=False)


def info_loob(anchors: Tensor, positives: Tensor, inverse_temperature: Scalar) -> Tensor:
    """InfoLOOB of anchors (N, d) and positives (N, d), row i with row i: a scalar, not multiplied by τ."""
    return _term(anchors, positives, inverse_temperature, leave_one_out=True)


@_without_autocast
def _term(anchors: Tensor, positives: Tensor, inverse_temperature: Scalar, leave_one_out: bool) -> Tensor:
    if anchors.ndim != 2 or anchors.shape != positives.shape:
        raise ValueError(
            f"anchors {tuple(anchors.shape)}, positives {tuple(positives.shape)}: not both (N, d)"
        )
    _check_negatives(len(anchors))
    anchors, positives = _full_precision(anchors), _full_precision(positives)
    return _Term.apply(anchors, positives, _scalar(inverse_temperature, anchors), leave_one_out, 0)


def _full_precision(values: Tensor) -> Tensor:
    return (values if values.dtype == torch.float64 else values.float()).contiguous()


def _scalar(value: Scalar, like: Tensor) -> Tensor:
    return torch.as_tensor(value).to(like)


def _check_negatives(pairs: int) -> None:
    if pairs < 2:
        raise ValueError(
            f"{pairs} pair(s): a contrastive loss needs at least 2 pairs, or there is no negative"
        )


def _edge(rows: Tensor) -> int:
    return TILE.get(rows.device.type, TILE["cpu"])


def _blocks(rows: Tensor, edge: int) -> list[slice]:
    """As few as an edge allows, of equal size: a narrow last one would waste the products on it."""
    size = max(1, math.ceil(len(rows) / max(1, math.ceil(len(rows) / edge))))
    return [slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]


def _tiles(
    left: Tensor, right: Tensor, edge: int, *, buffers: int, upper: bool = False
) -> Iterator[tuple[slice, slice, tuple[Tensor, ...]]]:
    """Rows of left, rows of right, and `buffers` pieces of memory of that shape, the same ones for each tile.

    (The pages of fresh memory cost more than the arithmetic on them.) `upper`: not those below the diagonal.
    """
    memory = left.new_empty(buffers, min(edge, len(left)), min(edge, len(right)))
    for a in _blocks(left, edge):
        for b in _blocks(right, edge):
            if not upper or a.start <= b.start:
                yield a, b, memory[:, : a.stop - a.start, : b.stop - b.start].unbind()


# ---- Retrieval: fact 2, over the tiles of one Gram matrix ----


def _retrieve_small_batch(x: Tensor, y: Tensor, beta: Tensor) -> tuple[Tensor, ...]:
    """U_x, U_y, V_x, V_y of four tiles at most: the formula as it stands, with less to set up."""
    x_x, y_y, x_y = beta * (x @ x.T), beta * (y @ y.T), beta * (x @ y.T)
    return (
        _Normalised.apply(torch.softmax(x_x, dim=1) @ x),
        _Normalised.apply(torch.softmax(x_y, dim=0).T @ x),
        _Normalised.apply(torch.softmax(x_y, dim=1) @ y),
        _Normalised.apply(torch.softmax(y_y, dim=1) @ y),
    )


class _Retrieval(torch.autograd.Function):
    """`left` (n, d) retrieved from `right` (m, d)."""

    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor, beta: Tensor):
        ctx.itself = left is right
        retrieved, h = _retrieve(left, right, beta).unit_rows()
        ctx.save_for_backward(left, right, beta, retrieved, h)
        return retrieved

    @staticmethod
    @once_differentiable
    @_without_autocast
    def backward(ctx, gradient: Tensor):
        left, right, beta, retrieved, h = ctx.saved_tensors
        if ctx.itself:
            right = left
        grad_left = torch.zeros_like(left)
        grad_right = grad_left if ctx.itself else torch.zeros_like(right)
        d_left = _tangent(gradient, retrieved)
        grad_beta = _retrieve_backward(left, right, beta, (d_left, h), None, grad_left, grad_right)
        return grad_left, None if ctx.itself else grad_right, grad_beta


def _retrieve(
    left: Tensor, right: Tensor, beta: Tensor, from_left: "_RunningSum | None" = None
) -> "_RunningSum":
    """What `left` (n, d) retrieves from `right` (m, d); `from_left` takes what `right` retrieves from `left`.

    A batch that asks itself (`left is right`) needs only the tiles on and above the diagonal: a tile beyond
    the diagonal stands for its mirror image too.
    """
    itself = left is right
    from_right = _RunningSum(left)
    mirrored = from_right if itself else from_left
    asked = beta * left
    for a, b, (scores, weights) in _tiles(left, right, _edge(left), buffers=2, upper=itself):
        torch.mm(asked[a], right[b].T, out=scores)
        from_right.add(a, scores, right[b], weights)
        if mirrored and not (itself and a == b):
            mirrored.add(b, scores.T, left[a], weights.T)
    return from_right


def _retrieve_backward(
    left: Tensor,
    right: Tensor,
    beta: Tensor,
    from_right: tuple[Tensor, Tensor],
    from_left: tuple[Tensor, Tensor] | None,
    grad_left: Tensor,
    grad_right: Tensor,
) -> Tensor:
    """Add the gradients of `_retrieve` to `grad_left` and `grad_right`; return the one of β.

    `from_right` is D (n, d) and h (n,) of what `left` retrieved, `from_left` the same of `right` (or None).
    """
    itself = left is right
    (d_left, h_left), (d_right, h_right) = from_right, from_right if itself else from_left or (None, None)
    grad_beta = torch.zeros_like(beta)
    for a, b, (scores, weights, grad_scores) in _tiles(left, right, _edge(left), buffers=3, upper=itself):
        asked = beta * left[a]
        torch.mm(asked, right[b].T, out=scores)
        torch.sub(scores, h_left[a, None], out=weights).exp_()
        grad_right[b].addmm_(weights.T, d_left[a])
        torch.mm(d_left[a], right[b].T, out=grad_scores).mul_(weights)
        if d_right is not None and not (itself and a == b):
            scores.sub_(h_right[b]).exp_()
            grad_left[a].addmm_(scores, d_right[b])
            grad_scores.addcmul_(scores, torch.mm(left[a], d_right[b].T, out=weights))
        grad_right[b].addmm_(grad_scores.T, asked)
        grad_asked = grad_scores @ right[b]
        grad_left[a].addcmul_(grad_asked, beta)
        grad_beta += torch.dot(left[a].flatten(), grad_asked.flatten())
    return grad_beta


class _RunningSum:
    """Σ_j exp(s_ij − m_i) u_j over tiles of j, m_i the largest s_ij so far: no β overflows or loses a row."""

    def __init__(self, states: Tensor) -> None:
        self.sum = torch.zeros_like(states)
        self.maximum = states.new_full((len(states), 1), -torch.inf)

    def add(self, rows: slice, scores: Tensor, stored: Tensor, weights: Tensor) -> None:
        """Add the tile of `scores`; `weights` is scratch memory of its shape."""
        before = self.maximum[rows]
        now = torch.maximum(before, scores.amax(dim=1, keepdim=True))
        torch.sub(scores, now, out=weights).exp_()
        self.sum[rows].mul_((before - now).exp_()).addmm_(weights, stored)
        self.maximum[rows] = now

    def unit_rows(self) -> tuple[Tensor, Tensor]:
        """The rows of Σ_j exp(s_ij − h_i) u_j, of length 1, and h (n,)."""
        length = _length(self.sum)
        return self.sum.div_(length), (self.maximum + length.log()).squeeze(1)


class _Normalised(torch.autograd.Function):
    """Rows of length 1, as F.normalize, with a third of its traffic in the backward pass."""

    @staticmethod
    def forward(ctx, rows: Tensor):
        length = _length(rows)
        unit = rows / length
        ctx.save_for_backward(unit, length)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        unit, length = ctx.saved_tensors
        return _tangent(gradient, unit).div_(length)


def _length(rows: Tensor) -> Tensor:
    """The length of each row, (n, 1); not 0, because patterns that cancel have no direction."""
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return length.clamp_min_(torch.finfo(length.dtype).tiny)


def _tangent(gradient: Tensor, unit: Tensor) -> Tensor:
    """D = G − (G·Z) Z, row by row: what of the gradient changes a direction Z."""
    return torch.addcmul(gradient, (gradient * unit).sum(dim=1, keepdim=True), unit, value=-1)


# ---- InfoNCE and InfoLOOB: fact 1 ----


def _of_margins(margins: Tensor, leave_one_out: bool) -> tuple[Tensor, Tensor]:
    """Losses and their derivatives of margins m (n,): m, 1 (InfoLOOB); ln(1 + eᵐ), 1 − p (InfoNCE)."""
    if leave_one_out:
        return margins, torch.ones_like(margins)
    return F.softplus(margins), torch.sigmoid(margins)


class _Term(torch.autograd.Function):
    """1/N Σ_i loss(m_i) over `anchors` (n, d); row i belongs to row first + i of `positives` (N, d)."""

    @staticmethod
    def forward(ctx, anchors: Tensor, positives: Tensor, kappa: Tensor, leave_one_out: bool, first: int):
        wanted = any(ctx.needs_input_grad)
        loss, *gradients = _term_of(anchors, positives, kappa, leave_one_out, first, wanted)
        ctx.save_for_backward(anchors, kappa, *gradients)
        return loss

    @staticmethod
    @once_differentiable
    @_without_autocast
    def backward(ctx, gradient: Tensor):
        anchors, kappa, grad_anchors, grad_positives = ctx.saved_tensors
        grad_kappa = gradient * torch.dot(anchors.flatten(), grad_anchors.flatten())
        return gradient * kappa * grad_anchors, gradient * kappa * grad_positives, grad_kappa, None, None


def _term_of(
    anchors: Tensor, positives: Tensor, kappa: Tensor, leave_one_out: bool, first: int, wanted: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The term and, if `wanted`, its gradients with respect to κ·anchors and κ·positives.

    They are formed strip by strip (a tile's height × N), while the weights are at hand.
    """
    loss = torch.zeros_like(kappa)
    grad_anchors = torch.empty_like(anchors) if wanted else None
    grad_positives = torch.zeros_like(positives) if wanted else None
    strip = anchors.new_empty(min(_edge(anchors), len(anchors)), len(positives))
    for a in _blocks(anchors, _edge(anchors)):
        own = slice(first + a.start, first + a.stop)
        logits = torch.mm(anchors[a], positives.T, out=strip[: a.stop - a.start]).mul_(kappa)
        matched = logits.diagonal(own.start)
        positive = matched.clone()
        matched.fill_(-torch.inf)
        maximum = logits.amax(dim=1)
        weights = logits.sub_(maximum[:, None]).exp_()  # others · q_ij
        others = weights.sum(dim=1)
        losses, slopes = _of_margins(others.log() + maximum - positive, leave_one_out)
        loss += losses.sum() / len(positives)
        if wanted:
            slopes = slopes[:, None] / len(positives)
            weights.mul_(slopes / others[:, None]).diagonal(own.start).copy_(-slopes.squeeze(1))
            torch.mm(weights, positives, out=grad_anchors[a])
            grad_positives.addmm_(weights.T, anchors[a])
    return loss, grad_anchors, grad_positives


class _BothHopfieldTerms(torch.autograd.Function):
    """The image and the text term of a whole batch X, Y (N, d): three Gram matrices serve four retrievals.

    Each retrieval's backward pass asks for its D alone, so the forward pass goes on to it from the term's
    gradient and leaves four D behind, neither patterns nor gradients.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, kappa: Tensor, beta: Tensor, leave_one_out: bool):
        wanted = any(ctx.needs_input_grad)
        y = y.view_as(y)  # may be X itself, which does not make it one batch that asks itself
        from_x = _RunningSum(y)
        v_x, h_v_x = _retrieve(x, y, beta, from_left=from_x).unit_rows()
        u_y, h_u_y = from_x.unit_rows()
        u_x, h_u_x = _retrieve(x, x, beta).unit_rows()
        image_term, d_u_x, d_u_y = _term_of(u_x, u_y, kappa, leave_one_out, 0, wanted)
        image_kappa = _to_tangents(kappa, (d_u_x, u_x), (d_u_y, u_y)) if wanted else None
        del u_x, u_y, from_x
        v_y, h_v_y = _retrieve(y, y, beta).unit_rows()
        text_term, d_v_y, d_v_x = _term_of(v_y, v_x, kappa, leave_one_out, 0, wanted)
        text_kappa = _to_tangents(kappa, (d_v_y, v_y), (d_v_x, v_x)) if wanted else None
        if wanted:
            tangents = d_v_x, h_v_x, d_u_y, h_u_y, d_u_x, h_u_x, d_v_y, h_v_y
            ctx.save_for_backward(x, y, beta, image_kappa + text_kappa, *tangents)
        return image_term + text_term

    @staticmethod
    @once_differentiable
    @_without_autocast
    def backward(ctx, gradient: Tensor):
        x, y, beta, grad_kappa, *tangents = ctx.saved_tensors
        v_x, u_y, u_x, v_y = zip(tangents[::2], tangents[1::2], strict=True)  # D and h of each
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
        grad_beta = _retrieve_backward(x, y, beta, v_x, u_y, grad_x, grad_y)
        grad_beta += _retrieve_backward(x, x, beta, u_x, None, grad_x, grad_x)
        grad_beta += _retrieve_backward(y, y, beta, v_y, None, grad_y, grad_y)
        return grad_x.mul_(gradient), grad_y.mul_(gradient), grad_kappa * gradient, grad_beta * gradient, None


def _to_tangents(
    kappa: Tensor, of_anchors: tuple[Tensor, Tensor], of_positives: tuple[Tensor, Tensor]
) -> Tensor:
    """Turn two pairs (gradient with respect to κ·Z, Z) to D in place; return the gradient of κ."""
    gradient, unit = of_anchors
    grad_kappa = torch.dot(gradient.flatten(), unit.flatten())
    for gradient, unit in (of_anchors, of_positives):
        for a in _blocks(unit, _edge(unit)):
            gradient[a] = _tangent(gradient[a], unit[a]).mul_(kappa)
    return grad_kappa


class _BothTerms(torch.autograd.Function):
    """The image and the text term of X and Y themselves (N, d): rows and columns of one matrix of logits.

    A tile's gradient takes the sums of whole rows and columns, so the backward pass makes the logits again,
    unless there is but one tile of them.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, kappa: Tensor, leave_one_out: bool):
        positives = x.new_empty(len(x))
        others = x.new_full((2, len(x)), -torch.inf)  # ln Σ_{j≠i} exp, of row i and of column i
        for a, b, (logits,) in _tiles(x, y, LOGITS_TILE, buffers=1):
            torch.mm(x[a], y[b].T, out=logits).mul_(kappa)
            if a == b:
                positives[a] = logits.diagonal()
                logits.fill_diagonal_(-torch.inf)
            others[0, a] = torch.logaddexp(others[0, a], logits.logsumexp(dim=1))
            others[1, b] = torch.logaddexp(others[1, b], logits.logsumexp(dim=0))
        losses, slopes = _of_margins(others - positives, leave_one_out)
        ctx.save_for_backward(x, y, kappa, others, slopes, logits if len(x) <= LOGITS_TILE else None)
        return losses.sum() / len(x)

    @staticmethod
    @once_differentiable
    @_without_autocast
    def backward(ctx, gradient: Tensor):
        x, y, kappa, others, slopes, kept = ctx.saved_tensors
        slopes = slopes * (gradient / len(x))
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)  # first with respect to κ·x and κ·y
        for a, b, (logits, weights) in _tiles(x, y, LOGITS_TILE, buffers=2):
            if kept is None:
                torch.mm(x[a], y[b].T, out=logits).mul_(kappa)
            else:
                logits.copy_(kept)
            torch.sub(logits, others[0, a, None], out=weights).exp_().mul_(slopes[0, a, None])
            weights.addcmul_(logits.sub_(others[1, b]).exp_(), slopes[1, b])
            if a == b:
                weights.diagonal().copy_(-slopes[:, a].sum(dim=0))
            grad_x[a].addmm_(weights, y[b])
            grad_y[b].addmm_(weights.T, x[a])
        grad_kappa = torch.dot(x.flatten(), grad_x.flatten())
        return grad_x.mul_(kappa), grad_y.mul_(kappa), grad_kappa, None
