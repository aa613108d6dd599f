"""Train only the token embeddings whose tokens occur in a small corpus, with bit-identical results."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloob.common.errors import InputError
from cloob.shards.reader import Shards

# Tokenizing so many captions takes about two seconds, and a larger corpus uses most of the vocabulary anyway.
MAX_PAIRS = 2**15

# So many rows stay in the processor's cache while they are multiplied by the factors of many steps.
ROWS_PER_UPDATE = 512


def corpus_tokens(shards: Shards, tokenizer: Callable[[list[str]], Tensor]) -> Tensor | None:
    """The tokens of all captions and of the padding, sorted (R,); None for more than `MAX_PAIRS` pairs.

    A caption that cannot be read is left out: its pair is replaced when a batch is loaded.
    """
    if len(shards) > MAX_PAIRS:
        return None
    tokens = {0}  # the padding
    for index in range(len(shards)):
        try:
            tokens.update(tokenizer([shards.caption(index)])[0].tolist())
        except InputError:
            continue
    return torch.tensor(sorted(tokens))


class TokenRows(nn.Embedding):
    """Token embeddings of which only the rows of `tokens` (R,) have a gradient and an optimizer state.

    A token that never occurs has gradient 0 and moments 0, so AdamW only multiplies its row by 1 - lr·λ. The
    toy dataset uses 1% of CLIP's vocabulary, and the 49,408 rows have two thirds of the parameters of its
    small model. `weight`, the complete table, is brought up to date when it is read: in evaluation mode
    without grad, or by `state_dict`.
    """

    def __init__(self, dense: nn.Embedding, tokens: Tensor) -> None:
        super().__init__(
            dense.num_embeddings, dense.embedding_dim, _weight=dense.weight.detach(), _freeze=True
        )
        self.tokens = tokens
        self.rows = nn.Buffer(self.weight[tokens].requires_grad_(), persistent=False)
        self._position = torch.full((len(self.weight),), -1)  # no row: F.embedding raises IndexError
        self._position[tokens] = torch.arange(len(tokens))
        self._decay_factors: list[float] = []
        self.register_state_dict_pre_hook(lambda *_: self._update_weight())

    def forward(self, text: Tensor) -> Tensor:
        """Tokens (N, L) -> embeddings (N, L, w)."""
        if self.training or torch.is_grad_enabled():  # the first pass of gradient caching has no grad
            return F.embedding(self._position[text], self.rows)
        self._update_weight()
        return F.embedding(text, self.weight)

    def finish_step(self, shrinkage: float) -> None:
        """Call after an optimizer step; `shrinkage` is its learning rate times the weight decay."""
        self._decay_factors.append(1 - shrinkage)

    @torch.no_grad()
    def _update_weight(self) -> None:
        """Apply the steps since the last update, one after the other, so that the rounding is AdamW's."""
        for part in self.weight.split(ROWS_PER_UPDATE):
            for factor in self._decay_factors:
                part.mul_(factor)
        self.weight.index_copy_(0, self.tokens, self.rows)
        self._decay_factors.clear()

    @torch.no_grad()
    def read_weight(self) -> None:
        """Call after `weight` was replaced."""
        self._decay_factors.clear()
        self.rows.copy_(self.weight[self.tokens])

    def dense_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """The optimizer's state of `rows` (R, w) -> of `weight`, as in a checkpoint of a dense training."""
        return {
            name: torch.zeros_like(self.weight).index_copy_(0, self.tokens, value) if value.ndim else value
            for name, value in state.items()
        }

    def compact_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """The optimizer's state of `weight` -> of `rows` (R, w)."""
        return {name: value[self.tokens] if value.ndim else value for name, value in state.items()}
