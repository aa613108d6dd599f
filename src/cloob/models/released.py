"""The authors' released checkpoints: their layout recognized and turned into ours, weight by weight.

The layout (repository ml-jku/cloob): a dict with `epoch`, `name`, `state_dict`, `model_config_file` and the
states of optimizer and schedule. Weights have the prefix `module.`; the image tower is named as CLIP's, the
whole text tower lies under `transformer.`, and the temperature is `logit_inv_tau`.
"""

from typing import Any

import open_clip
import torch
from torch import Tensor

from cloob.common.errors import InputError

# What the paper trained, by open_clip's names; all have QuickGELU and attention heads of width 64.
ARCHITECTURES = {
    "RN50": "RN50-quickgelu",
    "RN101": "RN101-quickgelu",
    "RN50x4": "RN50x4-quickgelu",
    "ViT-B/32": "ViT-B-32-quickgelu",
    "ViT-B/16": "ViT-B-16-quickgelu",
}
_PARALLEL, _TEXT = "module.", "transformer."  # prefixes: of DistributedDataParallel, of the text tower
_INVERSE_TEMPERATURE, _HOPFIELD = "logit_inv_tau", "logit_scale_hopfield"


def is_released(checkpoint: dict[str, Any]) -> bool:
    """Whether the content of a checkpoint has the authors' layout: the text tower under `transformer.`."""
    weights = checkpoint.get("state_dict")
    return isinstance(weights, dict) and f"{_TEXT}text_projection" in _without_prefix(weights, _PARALLEL)


def convert(checkpoint: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """The open_clip configuration, the weights under open_clip's names in float32, and what else is known.

    The latter: `run` (`name`, `architecture`), `epoch`, and as stored `inv_temperature` (1/tau) and
    `hopfield_beta`, None where the checkpoint does not carry it. Both are kept as logarithms in the file;
    that of beta is so by its name, the code that wrote it was not released. Raises `InputError` with the
    reason for weights that are of none of the five architectures.
    """
    stored = _without_prefix(checkpoint["state_dict"], _PARALLEL)
    if not all(isinstance(weight, Tensor) for weight in stored.values()):
        raise InputError("not all weights are tensors")
    inv_temperature, beta = (_exponential(stored, key) for key in (_INVERSE_TEMPERATURE, _HOPFIELD))
    if inv_temperature is None:
        raise InputError(f"the temperature ({_INVERSE_TEMPERATURE}) is missing")
    weights = {
        name.removeprefix(_TEXT): weight.float() if weight.is_floating_point() else weight
        for name, weight in stored.items()
    }
    weights["logit_scale"] = torch.tensor(inv_temperature).log()
    architecture, config = _architecture(weights)
    about = {
        "run": {"name": checkpoint.get("name"), "architecture": architecture},
        "epoch": checkpoint.get("epoch"),
        "inv_temperature": inv_temperature,
        "hopfield_beta": beta,
    }
    return config, weights, about


def _without_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {str(name).removeprefix(prefix): weight for name, weight in weights.items()}


def _exponential(stored: dict[str, Tensor], key: str) -> float | None:
    """Take a scale out of the weights; it is stored as its logarithm."""
    logarithm = stored.pop(key, None)
    if logarithm is None:
        return None
    if logarithm.numel() != 1 or not torch.isfinite(logarithm.double().exp()).all():
        raise InputError(f"{key} is no finite number, or its exponential is not")
    return logarithm.double().exp().item()


def _architecture(weights: dict[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The architecture that has exactly these weights, with its open_clip configuration."""
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    for architecture, name in ARCHITECTURES.items():
        config = open_clip.get_model_config(name)
        with torch.device("meta"):  # shapes only
            wanted = {key: tuple(each.shape) for key, each in open_clip.CLIP(**config).state_dict().items()}
        if found == wanted:
            return architecture, config
    raise InputError(f"{len(found)} weights that are of none of {', '.join(ARCHITECTURES)}")
