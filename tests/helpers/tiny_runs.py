"""A finished run with random weights, as the train stage leaves it."""

from pathlib import Path

import torch

from cloob.models.clip import build_model
from cloob.models.export import export_open_clip
from tests.helpers.tiny_models import MODEL_CONFIG


def save_tiny_run(folder: Path) -> None:
    """Write `final.pt` and `open_clip/` of a tiny model to a run's folder, whose name is the run's."""
    torch.manual_seed(5)
    model = build_model(MODEL_CONFIG).eval()
    folder.mkdir(parents=True)
    run = dict(zip(("corpus", "objective", "architecture", "recipe"), folder.name.split("-"), strict=False))
    checkpoint = {
        "run": {"name": folder.name, **run, "seed": 1},
        "model_config": MODEL_CONFIG,
        "epoch": 31,
        "samples_seen": 300,
        "state_dict": model.state_dict(),
    }
    torch.save(checkpoint, folder / "final.pt")
    export_open_clip(model, MODEL_CONFIG, folder / "open_clip")
