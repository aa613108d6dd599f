"""Zero-shot classification, the paper's protocol: prompts into class weights, cosine similarity, argmax.

Plain normalised encoder outputs: no Hopfield retrieval at test time (method of the paper, section 4).
"""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import open_clip
import torch
from torch import Tensor
from tqdm import tqdm

from cloob.encoder import evaluation_transform, load_encoder, tokenizer_for
from cloob.errors import InputError
from cloob.evaluate.images import LabelledFolder, batches
from cloob.evaluate.testset import Description
from cloob.files import sha256_of, write_json

# Texts in one forward pass: 1024 × 77 tokens × width 512 in float32 are 160 MB per layer's activations.
TEXTS_PER_BATCH = 1024


@torch.inference_mode()
def class_weights(
    model: open_clip.CLIP,
    tokenizer: Callable[[list[str]], Tensor],
    class_names: Sequence[str],
    prompts: Sequence[str],
    device: str | torch.device = "cpu",
) -> Tensor:
    """The classifier (d, classes): the mean of a class's normalised prompt embeddings, normalised again."""
    classes_per_batch = max(1, TEXTS_PER_BATCH // len(prompts))
    return open_clip.build_zero_shot_classifier(
        model, tokenizer, class_names, prompts, num_classes_per_batch=classes_per_batch, device=device
    )


@torch.inference_mode()
def image_features(
    model: open_clip.CLIP, folder: LabelledFolder, batch_size: int, workers: int, device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """The normalised embeddings (N, d) and labels (N,) of a test set, on the CPU. Raises `InputError`."""
    features, labels = [], []
    loader = batches(folder, batch_size, workers)
    for batch in tqdm(loader, desc=folder.description.title, unit="batch"):
        if isinstance(batch, InputError):
            raise batch
        images, targets = batch
        features.append(model.encode_image(images.to(device), normalize=True).float().cpu())
        labels.append(targets)
    return torch.cat(features), torch.cat(labels)


def accuracies(logits: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Fractions of right answers: overall, among the best five (None up to five classes), mean over classes.

    `logits` is (N, classes), `labels` (N,). Classes without images do not count in the mean over classes.
    Of equal logits the first class wins.
    """
    classes = logits.shape[1]
    right = logits.argmax(dim=1) == labels
    images_per_class = torch.bincount(labels, minlength=classes)
    right_per_class = torch.bincount(labels[right], minlength=classes)
    filled = images_per_class > 0
    among_five = None
    if classes > 5:
        among_five = (logits.topk(5).indices == labels[:, None]).any(dim=1).double().mean().item()
    return {
        "accuracy": right.double().mean().item(),
        "accuracy_top5": among_five,
        "mean_per_class_accuracy": (right_per_class[filled].double() / images_per_class[filled])
        .mean()
        .item(),
    }


def evaluate_checkpoint(
    checkpoint: Path,
    testsets: Sequence[tuple[Description, Path]],
    out_dir: Path,
    batch_size: int,
    device: str,
    workers: int,
) -> None:
    """Classify the test sets (descriptions with their folders) and write `out_dir`/<dataset>.json for each.

    All sets are checked before the first is computed. Raises `InputError`.
    """
    names = [description.name for description, _ in testsets]
    if len(set(names)) != len(names):
        raise InputError(
            f"--testset: a name is given twice among {', '.join(names)}; give each test set once"
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU here; use --device cpu or auto")
    model, saved = load_encoder(checkpoint, device)
    transform = evaluation_transform(saved["model_config"])
    tokenizer = tokenizer_for(saved["model_config"])
    checkpoint_sha256 = sha256_of(checkpoint)
    folders = [LabelledFolder(description, folder, transform) for description, folder in testsets]
    for folder in folders:
        description = folder.description
        prompts = description.prompt_templates()
        weights = class_weights(model, tokenizer, folder.class_names, prompts, device).float().cpu()
        features, labels = image_features(model, folder, batch_size, workers, device)
        logits = features @ weights  # (N, classes), cosines
        if not torch.isfinite(logits).all():
            raise InputError(
                f"{checkpoint}: its embeddings of {description.name} are not finite; training diverged"
            )
        write_json(
            out_dir / f"{description.name}.json",
            {
                "run": saved["run"],
                "epoch": saved["epoch"],
                "dataset": description.name,
                "title": description.title,
                "protocol": "zeroshot",
                "images": len(labels),
                "classes": len(folder.class_names),
                "chance": 1 / len(folder.class_names),
                "metric": description.metric,
                "metrics": accuracies(logits, labels),
                "prompts": len(prompts),
                "checkpoint_sha256": checkpoint_sha256,
                "dataset_sha256": folder.content_sha256(),
                "versions": _versions(),
            },
        )


def _versions() -> dict[str, Any]:
    packages = ("torch", "torchvision", "open_clip_torch", "pillow")
    return {"python": python_version()} | {package: version(package) for package in packages}
