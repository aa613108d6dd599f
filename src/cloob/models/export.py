"""Export weights as a folder that open_clip loads directly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
from safetensors.torch import save_file
from torch import Tensor

from cloob.common.atomic_files import atomic_write
from cloob.common.json_files import write_json
from cloob.models.clip import CLIPModel
from cloob.models.config import ModelConfig
from cloob.models.interface import ImageTextModel
from cloob.models.open_clip_models import CONFIG_FILE, WEIGHTS_FILE, OpenCLIPModel


def export_open_clip(model: CLIPModel, config: ModelConfig, folder: Path) -> None:
    """Write `open_clip_model.safetensors` and `open_clip_config.json` into `folder`.

    `open_clip.create_model_and_transforms(f"local-dir:{folder}")` restores the same model, with the same
    image transform as in evaluation.
    """
    preprocess = {
        "size": config["vision_cfg"]["image_size"],
        "mode": "RGB",
        "mean": list(open_clip.OPENAI_DATASET_MEAN),
        "std": list(open_clip.OPENAI_DATASET_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    _write(model.state_dict(), config, preprocess, folder)


def export_model(model: ImageTextModel, folder: Path) -> None:
    """Write any model of `cloob.load_model` into `folder`; see `export_open_clip`."""
    if isinstance(model, CLIPModel):
        export_open_clip(model, model.config, folder)
    elif isinstance(model, OpenCLIPModel):
        _write(model.model.state_dict(), model.config, model.preprocess_config, folder)
    else:
        raise TypeError(f"a {type(model).__name__} has no form in open_clip")


def _write(
    state_dict: Mapping[str, Tensor], config: ModelConfig, preprocess: dict[str, Any], folder: Path
) -> None:
    weights = {name: weight.detach().cpu().contiguous() for name, weight in state_dict.items()}
    with atomic_write(folder / WEIGHTS_FILE) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})
        (folder / CONFIG_FILE).unlink(missing_ok=True)  # of another model: never beside these weights
    write_json(folder / CONFIG_FILE, {"model_cfg": config, "preprocess_cfg": preprocess})
