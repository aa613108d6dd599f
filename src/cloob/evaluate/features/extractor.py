"""What a checkpoint makes of images and captions: computed once, kept in a folder, used by all protocols."""

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
from cloob.evaluate.features.batched import Embedder, Tensors, devices_of
from cloob.evaluate.features.cache import cached, tensors_sha256, text_sha256
from cloob.evaluate.features.pooled import before_and_after
from cloob.evaluate.testsets.image_folder import LabeledFolder, decode, load_image
from cloob.models.clip import Encoder, load_encoder
from cloob.shards.reader import Shards

# Whose decoders, resizing and layers make the features: of other versions they are other ones.
_PACKAGES = ("torch", "torchvision", "open_clip_torch", "pillow")


@dataclass(frozen=True)
class ImageFeatures:
    """Of the N images of a split, float32 on the CPU, in the order of their names.

    None is the features before the projection of a tower that has no such vector.
    """

    before_projection: Tensor | None  # (N, w)
    after_projection: Tensor  # (N, d), not normalized
    labels: Tensor  # (N,), int64
    names: list[str]
    title: str  # of the split

    @property
    def normalized(self) -> Tensor:
        """The embeddings after the projection, of length 1. Raises `InputError`."""
        return of_length_1(self.after_projection, self.title)


@dataclass(frozen=True)
class PairFeatures:
    """Of captioned images: M images and N captions, float32 on the CPU, normalized.

    `image_of_text` (N,) says which image each caption is of: images of equal bytes are one image.
    """

    image: Tensor  # (M, d)
    text: Tensor  # (N, d)
    image_of_text: Tensor  # (N,), int64


class FeatureExtractor:
    """One checkpoint, ready to embed images and captions.

    `source` is what `load_encoder` takes; `cache` the folder that features are kept in. All GPUs that torch
    sees take part (`device` auto or cuda), each with whole batches, so that their number changes no feature.
    `precision` is of the encoders: float32, without TF32, or bfloat16 (autocast). Raises `InputError`.
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
        self.model, self.about = load_encoder(source)
        self.sha256 = text_sha256([tensors_sha256(self.model.state_dict()), _form_of(self.model)])
        self.cache, self.precision = cache, precision
        self.versions = {package: version(package) for package in _PACKAGES}
        self.tokenizer = self.model.tokenizer  # made once: it compiles a grammar of 48 000 merges
        self.model.visual.to(memory_format=torch.channels_last)  # faster convolutions
        self._embedder = Embedder(self.model, devices_of(device), batch_size, workers, precision)

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self._embedder.devices[0]

    @property
    def inv_temperature(self) -> float:
        """What the checkpoint multiplies cosines with: 1/τ, as trained or fixed."""
        encoders = self.model if isinstance(self.model, Encoder) else self.model.model
        return float(encoders.logit_scale.detach().double().exp())

    def of_images(self, folder: LabeledFolder) -> ImageFeatures:
        """The features of a split of a test set. Raises `InputError`, for an unreadable image too."""
        title = f"{folder.description.title}, {folder.split}"
        tensors = self.kept(
            f"{folder.description.name}_{folder.split}",
            {"images": folder.content_sha256(self.cache), "split": folder.split},
            lambda: self._embedded_images([path for path, _ in folder.samples], title, load_image),
        )
        labels = torch.tensor(folder.targets, dtype=torch.int64)
        return ImageFeatures(tensors.get("before"), tensors["after"], labels, folder.names, title)

    def of_pairs(self, shards: Shards, name: str, title: str) -> PairFeatures:
        """The normalized embeddings of captioned images. Raises `InputError`."""
        first: dict[str, int] = {}  # hash of an image -> the first sample that has it
        image_of_text, samples = [], []
        for index in range(len(shards)):
            digest = shards.image_sha256(index)
            if digest not in first:
                first[digest] = len(samples)
                samples.append(index)
            image_of_text.append(first[digest])
        if not samples:
            raise InputError(f"{shards.path}: holds no captioned image")

        def content(index: int) -> tuple[bytes, str]:
            image, _, sample = shards.sample(index)
            return image, f"image {sample} of {shards.path}"

        def make() -> Tensors:
            images = self._embedded_images(samples, f"{title}, images", lambda index: decode(*content(index)))
            texts = self._embedder.embed(
                range(len(shards)),
                f"{title}, captions",
                shards.caption,
                self.tokenizer,
                lambda model, tokens: {"text": model.encode_text(tokens)},
            )
            return {"image": images["after"], **texts}

        tensors = self.kept(name, {"pairs": shards.manifest["sha256"]}, make)
        image = of_length_1(tensors["image"], f"{title}, images")
        text = of_length_1(tensors["text"], f"{title}, captions")
        return PairFeatures(image, text, torch.tensor(image_of_text))

    def kept(self, name: str, of: dict[str, Any], make: Callable[[], Tensors]) -> Tensors:
        """What `make` computes with this checkpoint of the data `of`, kept in the cache; see `cached`.

        With a float32 encoder the device is not part of the key.
        """
        key = of | {
            "checkpoint": self.sha256,
            "preprocessing": _described(self.model.preprocess),
            "precision": self.precision,
            "versions": self.versions,
        }
        return cached(self.cache / self.sha256[:16], name, key, make)

    def _embedded_images(self, images: Sequence[Any], title: str, load: Callable[[Any], Image]) -> Tensors:
        """Features of images, each loaded by `load` and preprocessed exactly as open_clip does."""
        preprocess = self.model.preprocess
        return self._embedder.embed(
            images, title, lambda image: preprocess(load(image)), default_collate, _features
        )


def of_length_1(embeddings: Tensor, title: str) -> Tensor:
    """(N, d) -> (N, d), float32; raises `InputError` where one is zero or not finite: it has no direction."""
    # In float32 the squares of 1e23 are infinite, and the quotient a zero that looks like an answer.
    lengths = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True, dtype=torch.float64)
    if wrong := int((~torch.isfinite(lengths) | (lengths == 0)).sum()):
        raise InputError(
            f"{title}: {wrong} of {len(embeddings)} embeddings are zero or not finite; training diverged, or "
            "the weights are damaged"
        )
    return (embeddings / lengths).float()


def _features(model: Any, pixels: Tensor) -> Tensors:
    weight = next(model.visual.parameters())
    before, after = before_and_after(model.visual, pixels.to(weight.dtype))
    return {"after": after} if before is None else {"before": before, "after": after}


def _form_of(model: Any) -> Any:
    """What makes other embeddings of equal weights: activations, heads, the size of images."""
    return model.config if isinstance(model, Encoder) else _described(model)


def _described(thing: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))
