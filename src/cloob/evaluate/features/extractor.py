"""Embed images and captions with one checkpoint; every protocol shares the cached features."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import default_collate

from cloob.common.errors import InputError
from cloob.common.hashing import json_sha256
from cloob.evaluate.features.batched import Embedder, Tensors, select_devices
from cloob.evaluate.features.cache import cache_path, cached, tensors_sha256
from cloob.evaluate.features.finite import CHUNK_ROWS
from cloob.evaluate.features.mapped import MappedTensors
from cloob.evaluate.features.pooled import pre_and_post_projection
from cloob.evaluate.retrieval_sets.retrieval_set import RetrievalSet
from cloob.evaluate.testsets.image_folder import LabeledFolder, decode, load_image
from cloob.models.interface import ImageTextModel
from cloob.models.load import load_model
from cloob.models.open_clip_models import OpenCLIPModel

# The image decoders, resizing and layers of these packages determine the features, so cache keys contain
# their versions.
_PACKAGES = ("torch", "torchvision", "open_clip_torch", "pillow")


@dataclass(frozen=True)
class ImageFeatures:
    """Features of the N images of a split, float32 on the CPU, sorted by image name."""

    before_projection: Tensor | None  # (N, w); None if the image encoder has no such vector
    after_projection: Tensor  # (N, d), not normalized
    labels: Tensor  # (N,), int64
    names: list[str]
    title: str  # of the split
    release_pages: Callable[[], None]
    """Returns the memory of the features that have been read; they are read again when they are needed."""

    @property
    def normalized(self) -> Tensor:
        """The L2-normalized embeddings (N, d). Raises `InputError`."""
        return l2_normalize(self.after_projection, self.title)


@dataclass(frozen=True)
class PairFeatures:
    """L2-normalized embeddings of captioned images, float32: M images and N captions.

    `image_of_text` is the index of each caption's image.
    """

    image: Tensor  # (M, d)
    text: Tensor  # (N, d)
    image_of_text: Tensor  # (N,), int64

    def to(self, device: torch.device) -> "PairFeatures":
        """The same features on `device`."""
        return PairFeatures(self.image.to(device), self.text.to(device), self.image_of_text.to(device))


class FeatureExtractor:
    """One checkpoint, loaded and ready to embed images and captions.

    `source` is a checkpoint or model name for `cloob.load_model`; `cache` is the folder of the feature cache.
    With `device` auto or cuda, whole batches are distributed over all visible GPUs, so that the number of
    GPUs does not change any feature. `precision` of the encoders: float32 (TF32 disabled) or bfloat16
    (autocast). Raises `InputError`.
    """

    def __init__(
        self,
        source: str | Path,
        cache: Path,
        batch_size: int = 256,
        workers: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.model = load_model(source)
        self.sha256 = model_sha256(self.model)
        self.cache, self.precision = cache, precision
        self.versions = _package_versions()
        self.tokenizer = self.model.tokenizer  # constructed once: it compiles 48,000 merges
        self.model.visual.to(memory_format=torch.channels_last)  # faster convolutions
        self._embedder = Embedder(self.model, select_devices(device), batch_size, workers, precision)

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the checkpoint; see `cloob.models.load.load_model`."""
        return self.model.metadata

    @property
    def device(self) -> torch.device:
        """The device of the model (the first one, if several)."""
        return self._embedder.devices[0]

    @property
    def inv_temperature(self) -> float:
        """1/τ, the factor of the cosine similarities, as trained or fixed."""
        return float(self.model.logit_scale.detach().double().exp())

    def image_features(self, folder: LabeledFolder) -> ImageFeatures:
        """The features of a split of a test set. Raises `InputError`, including for an unreadable image."""
        title = f"{folder.spec.title}, {folder.split}"

        def compute() -> Tensors:
            features = self._embed_images([path for path, _ in folder.samples], title, load_image)
            folder.check_unchanged(self.cache)
            return features

        tensors = self.cached(*self._name_and_data(folder), compute)
        labels = torch.tensor(folder.targets, dtype=torch.int64)
        return ImageFeatures(
            tensors.get("before"), tensors["after"], labels, folder.names, title, tensors.release_pages
        )

    def delete_image_features(self, folder: LabeledFolder) -> None:
        """Delete the cached features of a split, if there are any."""
        cache_path(*self._entry(*self._name_and_data(folder))).unlink(missing_ok=True)

    def pair_features(self, pairs: RetrievalSet, name: str, title: str) -> PairFeatures:
        """The L2-normalized embeddings of captioned images. Raises `InputError`."""

        def compute() -> Tensors:
            images = self._embed_images(
                range(pairs.num_images), f"{title}, images", lambda index: decode(*pairs.image(index))
            )
            texts = self._embedder.embed(
                range(len(pairs.image_of_text)),
                f"{title}, captions",
                pairs.caption,
                self.tokenizer,
                lambda model, tokens: {"text": model.encode_text(tokens)},
            )
            pairs.check_unchanged()
            return {"image": images["after"], **texts}

        tensors = self.cached(name, {"pairs": pairs.sha256}, compute)
        image = l2_normalize(tensors["image"], f"{title}, images")
        text = l2_normalize(tensors["text"], f"{title}, captions")
        return PairFeatures(image, text, torch.tensor(pairs.image_of_text))

    def cached(self, name: str, data: dict[str, Any], compute: Callable[[], Tensors]) -> MappedTensors:
        """The result of `compute`, cached by this checkpoint and `data`; see `cache.cached`.

        The device is not part of the cache key.
        """
        return cached(*self._entry(name, data), compute)

    def _entry(self, name: str, data: dict[str, Any]) -> tuple[Path, str, dict[str, Any]]:
        """Folder, name and key in the cache."""
        key = data | embedding_key(self.model, self.sha256) | {"precision": self.precision}
        return self.cache / self.sha256[:16], name, key

    def _name_and_data(self, folder: LabeledFolder) -> tuple[str, dict[str, Any]]:
        """The name of a split in the cache, and the data that its features depend on."""
        data = {"images": folder.content_sha256(self.cache), "split": folder.split}
        return f"{folder.spec.name}_{folder.split}", data

    def _embed_images(self, images: Sequence[Any], title: str, load: Callable[[Any], Image]) -> Tensors:
        """Features of images, each loaded by `load` and preprocessed exactly as open_clip does."""
        preprocess = self.model.preprocess
        return self._embedder.embed(
            images, title, lambda image: preprocess(load(image)), default_collate, _encode_images
        )


def l2_normalize(embeddings: Tensor, title: str) -> Tensor:
    """(N, d) -> (N, d), float32. Raises `InputError` if an embedding is zero or not finite."""
    normalized, invalid = torch.empty_like(embeddings, dtype=torch.float32), 0
    for rows, output in zip(embeddings.split(CHUNK_ROWS), normalized.split(CHUNK_ROWS), strict=True):
        # Norms in float64: in float32 the square of 1e23 overflows, and the quotient would be a plausible 0.
        norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
        invalid += int((~torch.isfinite(norms) | (norms == 0)).sum())
        output.copy_(rows / norms)
    if invalid:
        raise InputError(
            f"{title}: {invalid} of {len(embeddings)} embeddings are zero or not finite; training diverged, "
            "or the weights are damaged"
        )
    return normalized


def _encode_images(model: ImageTextModel, pixels: Tensor) -> Tensors:
    weight = next(model.visual.parameters())
    before, after = pre_and_post_projection(model.visual, pixels.to(weight.dtype))
    return {"after": after} if before is None else {"before": before, "after": after}


def embedding_key(model: ImageTextModel, sha256: str) -> dict[str, Any]:
    """What the embedding of an image file depends on besides the file and the precision, for cache keys.

    `sha256` is that of `model_sha256`.
    """
    preprocessing = _repr_without_ids(model.preprocess)
    return {"checkpoint": sha256, "preprocessing": preprocessing, "versions": _package_versions()}


def _package_versions() -> dict[str, str]:
    return {package: version(package) for package in _PACKAGES}


def model_sha256(model: ImageTextModel) -> str:
    """A hash of the weights and everything else that determines the embeddings, independent of the file."""
    return json_sha256([tensors_sha256(model.state_dict()), _architecture(model)])


def _architecture(model: ImageTextModel) -> Any:
    """Everything besides the weights that determines the embeddings: activations, heads, image size.

    The configuration of an open_clip model determines neither its activations (a tag does) nor its image
    transform (`preprocess_cfg` does).
    """
    if isinstance(model, OpenCLIPModel):
        return [_repr_without_ids(model), model.config, model.preprocess_config]
    return model.config


def _repr_without_ids(value: object) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
