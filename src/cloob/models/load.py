"""Load trained models: checkpoints of this pipeline, the authors' released ones, and open_clip's."""

import errno
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL.Image import Image
from torch import Tensor, nn
from torchvision.transforms import Compose

from cloob.common.errors import InputError, raise_if_io_error
from cloob.models.clip import CLIPModel, build_model
from cloob.models.preprocessing import to_rgb_image
from cloob.models.released import convert, is_released
from cloob.models.safe_load import (
    check_crc,
    check_no_downloads,
    checkpoint_metadata,
    is_unsafe_pickle,
    load_error,
    read_weights,
)


class OpenCLIPModel(nn.Module):
    """Any pretrained model of open_clip, with the interface of `CLIPModel`."""

    def __init__(
        self,
        model: nn.Module,
        preprocess: Callable[[Image], Tensor],
        tokenizer: Callable[[list[str]], Tensor],
        metadata: dict[str, Any],
    ) -> None:
        """Wrap `model` with the `preprocess` and `tokenizer` that open_clip provides for it.

        `self.preprocess` additionally accepts images of any Pillow mode (see `cloob.images.decoding`).
        """
        super().__init__()
        self.model: Any = model  # open_clip's models have no common type
        self.tokenizer, self.metadata = tokenizer, metadata
        self.preprocess = Compose([to_rgb_image, preprocess])

    @property
    def visual(self) -> nn.Module:
        """The image encoder."""
        return self.model.visual

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of the inverse temperature."""
        return self.model.logit_scale

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Pixels from `preprocess` (N, 3, S, S) -> embeddings (N, d), L2-normalized if `normalize`."""
        return self.model.encode_image(image, normalize=normalize)

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Tokens (N, context length) -> embeddings (N, d), L2-normalized if `normalize`."""
        return self.model.encode_text(text, normalize=normalize)


def load_model(source: str | Path, device: str | torch.device = "cpu") -> CLIPModel | OpenCLIPModel:
    """Load a trained model in evaluation mode on `device`.

    `source` is one of

    - a checkpoint of the train stage, or one of the authors' released checkpoints (recognized by content);
    - a pretrained model of open_clip: `NAME:TAG` (`RN50-quickgelu:yfcc15m`), `NAME:FILE` with a file of
      weights, `hf-hub:OWNER/REPOSITORY`, or a folder with an `open_clip_config.json`, such as
      the `open_clip` folder of a run.

    The model has `encode_image`, `encode_text`, `preprocess`, `tokenizer` and `metadata`. `metadata` has at
    least `run` (a dict with `name`) and `epoch` (None for open_clip's models). For checkpoints of this
    pipeline it has everything except weights and optimizer state; for released ones also `model_config`,
    `inv_temperature` and `hopfield_beta` as stored.

    Loading never executes code: a pickle that contains anything but tensors and plain containers is rejected.
    Raises `InputError`.
    """
    path = Path(source)
    if not _exists(path, Path.is_file):
        return _load_open_clip(str(source), device)
    checkpoint = read_weights(path)
    try:
        if is_released(checkpoint):
            config, weights, metadata = convert(checkpoint)
            metadata["model_config"] = config
        else:
            weights = checkpoint.pop("state_dict")
            metadata = {key: content for key, content in checkpoint.items() if key != "optimizer"}
            config = metadata["model_config"]
            check_no_downloads(config)
        model = build_model(config)
        model.load_state_dict(weights)
    except (InputError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise_if_io_error(error, path)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: neither a checkpoint of this pipeline nor one released by the authors ({reason}); "
            "give weights of an open_clip model as NAME:FILE"
        ) from None
    model.metadata = checkpoint_metadata(path, metadata, model.logit_scale)
    return model.to(device).eval()


def _exists(path: Path, is_kind: Callable[[Path], bool]) -> bool:
    try:
        return is_kind(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # not a path but the name of a model on a hub
            return False
        raise


def _load_open_clip(source: str, device: str | torch.device) -> OpenCLIPModel:
    """Load a pretrained model of open_clip by its name or folder; raises `InputError`."""
    name, _, weights = source.partition(":")
    if _exists(Path(source), Path.is_dir):
        name, weights = f"local-dir:{source}", ""
    elif name in ("hf-hub", "local-dir"):
        name, weights = source, ""
    elif not weights or name not in open_clip.list_models():
        raise InputError(
            f"{source}: no such checkpoint, and not of the form NAME:TAG with a model of open_clip "
            "(`RN50-quickgelu:yfcc15m`; open_clip.list_pretrained() lists them)"
        )
    if _exists(Path(weights), Path.is_file):
        check_crc(Path(weights))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="'torch.load' received a zip file"
            )  # TorchScript, which is rejected
            # Another activation function than in training would change the embeddings, so it is an error.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            model, preprocess = open_clip.create_model_from_pretrained(
                name, weights or None, weights_only=True
            )
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # from the hub's client, the network, open_clip or torch: no common base class
        if is_unsafe_pickle(error):
            raise load_error(source, error) from None
        raise_if_io_error(error, source)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{source}: open_clip cannot load it ({reason})") from error
    metadata = checkpoint_metadata(source, {"run": {"name": source}, "epoch": None}, model.logit_scale)
    return OpenCLIPModel(model, preprocess, tokenizer, metadata).to(device).eval()
