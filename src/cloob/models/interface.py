"""The interface of all models that `cloob.load_model` returns, and zero-shot classification with it."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL.Image import Image
from torch import Tensor, nn

from cloob.common.errors import InputError
from cloob.images.files import read_image

IMAGES_PER_BATCH = 32
_PROMPTS_PER_BATCH = 256


class ImageTextModel(nn.Module, ABC):
    """An image and a text encoder with a common embedding space (dimension d), and their input pipelines."""

    visual: nn.Module
    """The image encoder."""
    logit_scale: Tensor
    """The logarithm of the inverse temperature."""
    config: dict[str, Any]
    """The open_clip model configuration."""
    metadata: dict[str, Any]
    """What the source says about the model: at least `run` (a dict with `name`) and `epoch`."""
    preprocess: Callable[[Image | Tensor], Tensor]
    """Image transform to apply before `encode_image`: PIL image of any mode -> pixels (3, S, S)."""
    tokenizer: Callable[[list[str]], Tensor]
    """Tokenizer to apply before `encode_text`: N texts -> tokens (N, L)."""

    @abstractmethod
    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Standardized pixels (N, 3, S, S) -> embeddings (N, d), L2-normalized if `normalize`."""

    @abstractmethod
    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Tokens (N, L) -> embeddings (N, d), L2-normalized if `normalize`."""

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.logit_scale.device

    @torch.inference_mode()
    def classify(
        self,
        images: str | Path | Image | Iterable[str | Path | Image],
        labels: Sequence[str],
        templates: Sequence[str] = ("{}",),
    ) -> list[dict[str, float]]:
        """Zero-shot classification: for each image, the probability of every label, the most probable first.

        `images` are Pillow images or paths of image files, or a single one. A label replaces `{}` in every
        template, by default the whole text; its weight is the mean of the normalized embeddings of these
        texts, normalized again. Probabilities are the softmax of the cosine similarities divided by the
        model's temperature τ. Raises `InputError` for an unreadable image, for fewer than two labels,
        duplicate or empty ones, and for a template without `{}`.
        """
        _check_labels(labels, templates)
        if isinstance(images, str | Path | Image):
            images = [images]
        weights = open_clip.build_zero_shot_classifier(
            self,
            self.tokenizer,
            labels,
            [partial(_fill, template) for template in templates],
            num_classes_per_batch=max(1, _PROMPTS_PER_BATCH // len(templates)),
            device=self.device,
        )  # (d, labels)
        check_unit_length(weights.T)
        results: list[dict[str, float]] = []
        remaining = iter(images)
        while batch := list(islice(remaining, IMAGES_PER_BATCH)):
            loaded = [image if isinstance(image, Image) else read_image(image) for image in batch]
            pixels = torch.stack([self.preprocess(image) for image in loaded]).to(self.device)
            cosines = check_unit_length(self.encode_image(pixels, normalize=True)) @ weights
            # In float64: 1/τ may exceed the largest float32.
            probabilities = (self.logit_scale.double().exp() * cosines.double()).softmax(dim=1)
            for row in probabilities.tolist():
                ranked = sorted(zip(labels, row, strict=True), key=lambda pair: -pair[1])  # stable
                results.append(dict(ranked))
        return results


def check_unit_length(embeddings: Tensor) -> Tensor:
    """Return L2-normalized embeddings (N, d). Raises `InputError` if one is zero or not finite.

    Normalized embeddings are zero if the squares of their values exceed the largest float32, for example.
    """
    lengths = torch.linalg.vector_norm(embeddings.float(), dim=1)
    if not (lengths > 0.5).all():  # also False for NaN
        raise InputError("an embedding is zero or not finite: training diverged, or the weights are damaged")
    return embeddings


def _fill(template: str, label: str) -> str:
    return template.replace("{}", label)  # `str.format` would interpret other braces


def _check_labels(labels: Sequence[str], templates: Sequence[str]) -> None:
    if isinstance(labels, str) or len(labels) < 2:
        raise InputError(f"labels: {labels!r:.80}; give a list of at least two texts")
    if any(not label.strip() for label in labels):
        raise InputError("labels: one of them is empty; give a text for each")
    label, count = Counter(labels).most_common(1)[0]
    if count > 1:
        raise InputError(f"labels: {label!r:.80} is given twice; give it once")
    if isinstance(templates, str) or not templates:
        raise InputError(f"templates: {templates!r:.80}; give a list of at least one text with {{}}")
    for template in templates:
        if "{}" not in template:
            raise InputError(f"templates: {template!r:.80} has no {{}}, which the label replaces")
