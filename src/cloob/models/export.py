"""Export weights as a folder that open_clip loads directly."""

from pathlib import Path

import open_clip
from safetensors.torch import save_file

from cloob.common.atomic_files import atomic_write
from cloob.common.json_files import write_json
from cloob.models.clip import CLIPModel
from cloob.models.config import ModelConfig


def export_open_clip(model: CLIPModel, config: ModelConfig, folder: Path) -> None:
    """Write `open_clip_model.safetensors` and `open_clip_config.json` into `folder`.

    `open_clip.create_model_and_transforms(f"local-dir:{folder}")` restores the same model, with the same
    image transform as in evaluation.
    """
    weights = {name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}
    with atomic_write(folder / "open_clip_model.safetensors") as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})
    preprocess = {
        "size": config["vision_cfg"]["image_size"],
        "mode": "RGB",
        "mean": list(open_clip.OPENAI_DATASET_MEAN),
        "std": list(open_clip.OPENAI_DATASET_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preprocess})
