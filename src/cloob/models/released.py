"""The authors' released checkpoints: recognize their layout and convert it to open_clip's parameter names.

The layout (repository ml-jku/cloob): a dict with `epoch`, `name`, `state_dict`, `model_config_file` and the
states of optimizer and scheduler. Parameter names have the prefix `module.`; the image encoder is named as in
CLIP, the whole text encoder has the prefix `transformer.`, and the temperature is `logit_inv_tau`.
"""

from typing import Any

import open_clip
import torch
from torch import Tensor

from cloob.common.errors import InputError

# The architectures of the paper, by open_clip's names; all have QuickGELU and attention heads of width 64.
ARCHITECTURES = {
    "RN50": "RN50-quickgelu",
    "RN101": "RN101-quickgelu",
    "RN50x4": "RN50x4-quickgelu",
    "ViT-B/32": "ViT-B-32-quickgelu",
    "ViT-B/16": "ViT-B-16-quickgelu",
}
_DDP_PREFIX, _TEXT_PREFIX = "module.", "transformer."  # of DistributedDataParallel, of the text encoder
_LOG_INV_TEMPERATURE, _LOG_HOPFIELD_BETA = "logit_inv_tau", "logit_scale_hopfield"


def is_released(checkpoint: dict[str, Any]) -> bool:
    """Whether a checkpoint has the authors' layout, with `transformer.text_projection` among its weights."""
    weights = checkpoint.get("state_dict")
    return isinstance(weights, dict) and f"{_TEXT_PREFIX}text_projection" in _remove_prefix(
        weights, _DDP_PREFIX
    )


def convert(checkpoint: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """A released checkpoint -> open_clip configuration, float32 weights under open_clip's names, metadata.

    The metadata are `run` (`name`, `architecture`), `epoch`, and as stored `inv_temperature` (1/τ) and
    `hopfield_beta` (None if the checkpoint does not contain it). Both are stored as logarithms; for β this is
    inferred from its name, because the code that wrote it was not released. Raises `InputError` with the
    reason if the weights match none of the five architectures.
    """
    stored = _remove_prefix(checkpoint["state_dict"], _DDP_PREFIX)
    if not all(isinstance(weight, Tensor) for weight in stored.values()):
        raise InputError("not all weights are tensors")
    inv_temperature, beta = (_pop_exp(stored, key) for key in (_LOG_INV_TEMPERATURE, _LOG_HOPFIELD_BETA))
    if inv_temperature is None:
        raise InputError(f"the temperature ({_LOG_INV_TEMPERATURE}) is missing")
    weights = {
        name.removeprefix(_TEXT_PREFIX): weight.float() if weight.is_floating_point() else weight
        for name, weight in stored.items()
    }
    weights["logit_scale"] = torch.tensor(inv_temperature).log()
    architecture, config = _match_architecture(weights)
    metadata = {
        "run": {"name": checkpoint.get("name"), "architecture": architecture},
        "epoch": checkpoint.get("epoch"),
        "inv_temperature": inv_temperature,
        "hopfield_beta": beta,
    }
    return config, weights, metadata


def _remove_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {str(name).removeprefix(prefix): weight for name, weight in weights.items()}


def _pop_exp(stored: dict[str, Tensor], key: str) -> float | None:
    """Remove a scale that is stored as its logarithm from the weights and return its value."""
    logarithm = stored.pop(key, None)
    if logarithm is None:
        return None
    if logarithm.numel() != 1 or not torch.isfinite(logarithm.double().exp()).all():
        raise InputError(f"{key} or its exponential is not a finite number")
    return logarithm.double().exp().item()


def _match_architecture(weights: dict[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The architecture with exactly these parameter names and shapes, and its open_clip configuration."""
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    for architecture, name in ARCHITECTURES.items():
        config = open_clip.get_model_config(name)
        with torch.device("meta"):  # shapes only
            state_dict = open_clip.CLIP(**config).state_dict()
        if shapes == {name: tuple(weight.shape) for name, weight in state_dict.items()}:
            return architecture, config
    raise InputError(f"the {len(shapes)} weights match none of {', '.join(ARCHITECTURES)}")
