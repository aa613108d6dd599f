"""Zero-shot classification by the paper's protocol: prompt ensembling, cosine similarity, argmax.

The encoders' outputs are only L2-normalized: no Hopfield retrieval at inference time (paper, section 4).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from torch import Tensor

from cloob.common.bit_strings import pack_bits
from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.protocols.result import (
    dataset_metadata,
    evaluation_metadata,
    is_up_to_date,
    write_result,
)
from cloob.evaluate.protocols.sample_predictions import sample_predictions
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import TestSetSpec
from cloob.metrics.accuracy import accuracies, label_ranks

# 1024 texts × 77 tokens × width 512 in float32 are 160 MB of activations per layer.
TEXTS_PER_BATCH = 1024


@torch.inference_mode()
def class_weights(
    model: open_clip.CLIP,
    tokenizer: Callable[[list[str]], Tensor],
    class_names: Sequence[str],
    prompts: Sequence[str],
    device: str | torch.device = "cpu",
) -> Tensor:
    """The zero-shot classifier (d, classes).

    A class's column is the mean of the L2-normalized embeddings of its prompts, L2-normalized again.
    """
    classes_per_batch = max(1, TEXTS_PER_BATCH // len(prompts))
    return open_clip.build_zero_shot_classifier(
        model, tokenizer, class_names, prompts, num_classes_per_batch=classes_per_batch, device=device
    )


def _cached_class_weights(extractor: FeatureExtractor, folder: LabeledFolder) -> Tensor:
    """`class_weights` (d, classes), float32 on the CPU; shared by test sets with the same prompts."""
    names, prompts = folder.class_names, folder.spec.prompt_templates()

    def compute() -> dict[str, Tensor]:
        weights = class_weights(extractor.model, extractor.tokenizer, names, prompts, extractor.device)
        return {"classes": weights.float().cpu().T}

    return extractor.cached("class_weights", {"classes": names, "prompts": prompts}, compute)["classes"].T


def evaluate_zeroshot(
    extractor: FeatureExtractor,
    testsets: Sequence[tuple[TestSetSpec, Path]],
    out_dir: Path,
    predictions_dir: Path | None = None,
) -> None:
    """Evaluate test sets, each given as (spec, folder), and write `out_dir`/<dataset>.json.

    `correct_images` is a bit per image in the order of the sorted paths, by `pack_bits`.
    If `predictions_dir` is given, also write `predictions_dir`/<dataset>.json (`sample_predictions`). All
    test sets are validated before the first is evaluated. Result files that are up to date are not
    recomputed. Raises `InputError`.
    """
    folders = [LabeledFolder(spec, folder) for spec, folder in testsets]
    checkpoint = evaluation_metadata(extractor, "zeroshot")
    for folder in folders:
        metadata = checkpoint | dataset_metadata(extractor, folder)
        outputs = {out_dir / f"{folder.spec.name}.json": metadata}
        if predictions_dir:
            outputs[predictions_dir / f"{folder.spec.name}.json"] = metadata | {"protocol": "predictions"}
        keys = (["correct_images"], ["samples"])
        if all(is_up_to_date(*output, key) for output, key in zip(outputs.items(), keys, strict=False)):
            continue
        features = extractor.image_features(folder)
        logits = features.normalized @ _cached_class_weights(extractor, folder)  # (N, classes), cosines
        measured = accuracies(logits, features.labels)
        by_class = zip(folder.class_names, measured.pop("images"), measured.pop("right"), strict=True)
        measured["per_class"] = [
            {"class": name, "images": images, "right": right} for name, images, right in by_class
        ]
        measured["correct_images"] = pack_bits(label_ranks(logits, features.labels) == 0)
        contents = [measured]
        if predictions_dir:
            contents.append(sample_predictions(folder, logits, extractor.inv_temperature))
        for (path, expected), content in zip(outputs.items(), contents, strict=True):
            write_result(path, expected, content)
