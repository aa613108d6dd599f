"""A reproduction of CLOOB (Fürst et al., NeurIPS 2022): download, shards, train, evaluate, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from cloob.models.interface import ImageTextModel

__all__ = ["load_model"]


def load_model(source: str | Path, device: str | torch.device = "cpu") -> ImageTextModel:
    """Load a trained CLOOB or CLIP model for inference.

    `source` is a checkpoint of this pipeline (`results/train/<run>/final.pt`) or the folder of a run, a
    checkpoint released by the paper's authors, or a pretrained model of open_clip (`RN50:yfcc15m`). The model
    has `encode_image`, `encode_text`, `preprocess`, `tokenizer`, `classify` and `metadata`; see
    `cloob.models.load.load_model`. Raises `cloob.common.errors.InputError`.
    """
    from cloob.models.load import load_model as load  # torch, which takes seconds to import

    return load(source, device)
