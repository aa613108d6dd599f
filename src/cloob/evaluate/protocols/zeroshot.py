"""Zero-shot classification, the paper's protocol: prompts into class weights, cosine similarity, argmax.

Plain normalized encoder outputs: no Hopfield retrieval at test time (method of the paper, section 4).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from torch import Tensor

from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.protocols.result import about_checkpoint, about_testset, is_there, write_result
from cloob.evaluate.protocols.sample_predictions import predictions
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import Description
from cloob.metrics.accuracy import accuracies

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
    """The classifier (d, classes): the mean of a class's normalized prompt embeddings, normalized again."""
    classes_per_batch = max(1, TEXTS_PER_BATCH // len(prompts))
    return open_clip.build_zero_shot_classifier(
        model, tokenizer, class_names, prompts, num_classes_per_batch=classes_per_batch, device=device
    )


def _class_weights_of(extractor: FeatureExtractor, folder: LabeledFolder) -> Tensor:
    """`class_weights` of a test set, float32 on the CPU: once for all sets of the same prompts."""
    names, prompts = folder.class_names, folder.description.prompt_templates()

    def make() -> dict[str, Tensor]:
        weights = class_weights(extractor.model, extractor.tokenizer, names, prompts, extractor.device)
        return {"classes": weights.float().cpu().T}

    return extractor.kept("class_weights", {"classes": names, "prompts": prompts}, make)["classes"].T


def evaluate_zeroshot(
    extractor: FeatureExtractor,
    testsets: Sequence[tuple[Description, Path]],
    out_dir: Path,
    predictions_dir: Path | None = None,
) -> None:
    """Classify the test sets (descriptions with their folders) and write `out_dir`/<dataset>.json for each.

    In `predictions_dir`, where given, come some images of each set with their best classes (`predictions`).
    All sets are checked before the first is computed; a file that is there of the same checkpoint and data
    is left as it is. Raises `InputError`.
    """
    folders = [LabeledFolder(description, folder) for description, folder in testsets]
    of_checkpoint = about_checkpoint(extractor, "zeroshot")
    for folder in folders:
        name = f"{folder.description.name}.json"
        about = of_checkpoint | about_testset(extractor, folder)
        of_pictures = about | {"protocol": "predictions"}
        result, pictures = out_dir / name, predictions_dir and predictions_dir / name
        has_pictures = pictures is None or is_there(pictures, of_pictures)
        if is_there(result, about) and has_pictures:
            continue
        features = extractor.of_images(folder)
        logits = features.normalized @ _class_weights_of(extractor, folder)  # (N, classes), cosines
        measured = accuracies(logits, features.labels)
        by_class = zip(folder.class_names, measured.pop("images"), measured.pop("right"), strict=True)
        measured["per_class"] = [
            {"class": name, "images": images, "right": right} for name, images, right in by_class
        ]
        write_result(result, about, measured)
        if pictures:
            write_result(pictures, of_pictures, predictions(folder, logits, extractor.inv_temperature))
