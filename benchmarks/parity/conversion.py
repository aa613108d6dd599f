"""Load a checkpoint that the authors' code saved, and compare the embeddings."""

import json
from pathlib import Path

import torch

from benchmarks.parity.batches import make_batches
from benchmarks.parity.worker import CHECKPOINT_BATCH, CHECKPOINT_STEPS
from cloob.models.load import load_model
from cloob.models.preprocessing import normalize_pixels


def compare_checkpoint(folder: Path) -> None:
    """Load `epoch_1.pt` with our loader, embed the batch of `expected.pt`, and write `conversion.json`."""
    expected = torch.load(folder / "expected.pt", weights_only=True)
    model = load_model(folder / "epoch_1.pt")
    pixels, captions = make_batches(CHECKPOINT_STEPS + 1, CHECKPOINT_BATCH, image_size=224)[-1]
    with torch.inference_mode():
        images = normalize_pixels(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        image = model.encode_image(images, normalize=True)
        text = model.encode_text(model.tokenizer(captions), normalize=True)
    result = {
        "architecture": model.metadata["run"]["architecture"],
        "image embeddings": (image - expected["image"]).abs().max().item(),
        "text embeddings": (text - expected["text"]).abs().max().item(),
        "1/τ": abs(model.metadata["inv_temperature"] - expected["inv_temperature"].item()),
    }
    (folder / "conversion.json").write_text(json.dumps(result), encoding="utf-8")
