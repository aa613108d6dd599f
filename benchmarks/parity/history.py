"""What a training run did, step by step, and how far two runs are apart."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

_BATCHNORM = ("running_mean", "running_var")


@dataclass
class History:
    """One training run. Weights have open_clip's names."""

    losses: list[float] = field(default_factory=list)
    """The loss of every step."""
    learning_rates: list[float] = field(default_factory=list)
    """The learning rate of every step."""
    inv_temperatures: list[float] = field(default_factory=list)
    """1/τ before every step, and after the last."""
    initial: dict[str, Tensor] = field(default_factory=dict)
    """Weights and BatchNorm statistics before the first step."""
    final: dict[str, Tensor] = field(default_factory=dict)
    """The same after the last step."""

    def save(self, path: Path) -> None:
        """Write the history to a file."""
        torch.save(asdict(self), path)

    @classmethod
    def load(cls, path: Path) -> "History":
        """Read what `save` wrote."""
        return cls(**torch.load(path, weights_only=True))


@dataclass(frozen=True)
class Difference:
    """How far the history `ours` is from `theirs`; every number is relative."""

    loss: float
    """max over steps of |Δ loss| / max(|loss|, |first loss| / 20): InfoLOOB's loss passes through zero."""
    weights: float
    """‖Δ final weights‖ / ‖change of the weights during training‖."""
    batchnorm: float
    """‖Δ final running means and variances‖ / ‖running means and variances‖."""
    learning_rate: float
    """max over steps of |Δ learning rate| / the largest learning rate."""
    temperature: float
    """max over steps of |Δ 1/τ| / (1/τ)."""


def difference(theirs: History, ours: History) -> Difference:
    """Compare two histories of the same batches. Raises `ValueError` if they do not have the same form."""
    if len(theirs.losses) != len(ours.losses):
        raise ValueError(f"{len(theirs.losses)} and {len(ours.losses)} steps")
    if unmatched := theirs.final.keys() ^ ours.final.keys():
        raise ValueError(f"only one of the models has {', '.join(sorted(unmatched))}")
    floor = abs(theirs.losses[0]) / 20
    statistics = [name for name in theirs.final if name.endswith(_BATCHNORM)]
    weights = [
        name
        for name, value in theirs.final.items()
        if value.is_floating_point() and name not in statistics and name != "logit_scale"
    ]
    trained, initial, our_weights = (
        _flatten(state, weights) for state in (theirs.final, theirs.initial, ours.final)
    )
    their_statistics, our_statistics = (_flatten(state, statistics) for state in (theirs.final, ours.final))
    return Difference(
        loss=max(abs(a - b) / max(abs(a), floor) for a, b in zip(theirs.losses, ours.losses, strict=True)),
        weights=_relative(our_weights - trained, trained - initial),
        batchnorm=_relative(our_statistics - their_statistics, their_statistics),
        learning_rate=max(abs(a - b) for a, b in zip(theirs.learning_rates, ours.learning_rates, strict=True))
        / max(theirs.learning_rates),
        temperature=max(
            abs(a - b) / a for a, b in zip(theirs.inv_temperatures, ours.inv_temperatures, strict=True)
        ),
    )


def _flatten(state: dict[str, Tensor], names: list[str]) -> Tensor:
    parts = [state[name].double().flatten() for name in names]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def _relative(change: Tensor, scale: Tensor) -> float:
    return (change.norm() / scale.norm()).item() if change.any() else 0.0
