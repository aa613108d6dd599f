"""Pretrained models of open_clip: by name and tag, with a file of weights, from a folder or the hub."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import get_model_preprocess_cfg
from PIL.Image import Image
from torch import Tensor, nn
from torchvision.transforms import Compose

from cloob.common.errors import InputError, raise_if_io_error
from cloob.models.fast_layers import use_fast_layers
from cloob.models.interface import ImageTextModel
from cloob.models.preprocessing import to_rgb_image
from cloob.models.safe_load import check_crc, check_no_code, checkpoint_metadata, is_unsafe_pickle, load_error
from cloob.models.tokenizer import BoundedTokenizer

CONFIG_FILE, WEIGHTS_FILE = "open_clip_config.json", "open_clip_model.safetensors"
_LOCAL, _HUB = "local-dir:", "hf-hub:"


class OpenCLIPModel(ImageTextModel):
    """A pretrained model of open_clip, with the interface of `CLIPModel`."""

    def __init__(
        self,
        model: nn.Module,
        config: dict[str, Any],
        preprocess: Callable[[Image], Tensor],
        tokenizer: Callable[[list[str]], Tensor],
        metadata: dict[str, Any],
    ) -> None:
        """Wrap `model` with the `preprocess` and `tokenizer` that open_clip provides for it.

        `self.preprocess` additionally accepts images of any Pillow mode (see `cloob.images.decoding`).
        """
        super().__init__()
        self.model: Any = model  # open_clip's models have no common type
        self.config, self.tokenizer, self.metadata = config, tokenizer, metadata
        self.preprocess = Compose([to_rgb_image, preprocess])

    @property
    def visual(self) -> nn.Module:  # type: ignore[override]
        """The image encoder."""
        return self.model.visual

    @property
    def logit_scale(self) -> Tensor:  # type: ignore[override]
        """The logarithm of the inverse temperature."""
        return self.model.logit_scale

    @property
    def preprocess_config(self) -> dict[str, Any]:
        """The image transform as open_clip stores it beside the weights."""
        return get_model_preprocess_cfg(self.model)

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Pixels from `preprocess` (N, 3, S, S) -> embeddings (N, d), L2-normalized if `normalize`."""
        return self.model.encode_image(image, normalize=normalize)

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Tokens (N, context length) -> embeddings (N, d), L2-normalized if `normalize`."""
        return self.model.encode_text(text, normalize=normalize)


def load_open_clip(source: str, device: str | torch.device) -> OpenCLIPModel:
    """Load `NAME:TAG`, `NAME:FILE`, `local-dir:FOLDER` or `hf-hub:OWNER/REPOSITORY`. Raises `InputError`.

    Tags and repositories are downloaded to the cache of the Hugging Face hub unless they are there already.
    The activation function (QuickGELU or GELU) is that of the tag, as recorded by open_clip, also if the name
    lacks `-quickgelu`.
    """
    name, _, weights = source.partition(":")
    run: dict[str, Any] = {"name": source}
    if source.startswith((_LOCAL, _HUB)):
        name, weights = source, ""
        if source.startswith(_LOCAL):
            _check_one_model(Path(source.removeprefix(_LOCAL)))
    elif not weights or name not in open_clip.list_models():
        raise InputError(
            f"{source}: no such checkpoint, and not of the form NAME:TAG with a model of open_clip "
            "(`RN50:yfcc15m`; open_clip.list_pretrained() lists them)"
        )
    else:
        run["architecture"] = name.removesuffix("-quickgelu")
    tag = None if not weights else open_clip.get_pretrained_cfg(name, weights)
    if not tag:
        for path in _weight_files(name, weights):
            check_crc(path)
            check_no_code(path)
    try:
        with _one_line_errors():
            config = open_clip.get_model_config(name)
            _check_text_config(source, config["text_cfg"])
            model, preprocess = open_clip.create_model_from_pretrained(
                name,
                weights or None,
                weights_only=True,
                force_quick_gelu=bool(tag and tag.get("quick_gelu")),
            )
            use_fast_layers(model)
            tokenizer = _tokenizer(name, config["text_cfg"])
    except InputError:
        raise
    except Exception as error:  # from the hub's client, the network, open_clip or torch: no common base class
        if is_unsafe_pickle(error):
            raise load_error(source, error) from None
        raise_if_io_error(error, source)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{source}: open_clip cannot load it ({reason}){_remedy(reason)}") from error
    if tag and tag.get("quick_gelu"):
        config["quick_gelu"] = True
    metadata = checkpoint_metadata(source, {"run": run, "epoch": None}, model.logit_scale)
    return OpenCLIPModel(model, config, preprocess, tokenizer, metadata).to(device).eval()


def _check_one_model(folder: Path) -> None:
    """Raise `InputError` if a folder has several files of weights, of which open_clip would choose one."""
    patterns = ("*.safetensors", "*.bin", "*.pth")
    names = sorted(path.name for pattern in patterns for path in folder.glob(pattern))
    if WEIGHTS_FILE in names:  # open_clip's first choice, so leftovers of a killed export do no harm
        names = [name for name in names if not name.startswith(".")]
    if len(names) > 1:
        raise InputError(f"{folder}: {names[0]} and {names[1]} both have weights; keep one model in a folder")


def _check_text_config(source: str, text_config: dict[str, Any]) -> None:
    """Raise `InputError` for a model that needs transformers, before its weights are downloaded."""
    for key, part in {"hf_tokenizer_name": "tokenizer", "hf_model_name": "text encoder"}.items():
        if text_config.get(key):
            raise InputError(
                f"{source}: its {part} needs the package transformers, which cloob does not support; give a "
                "model with CLIP's tokenizer"
            )


def _tokenizer(name: str, text_config: dict[str, Any]) -> Callable[[list[str]], Tensor]:
    """open_clip's choice for the model, in bounded time and memory unless it has options of its own."""
    tokenizer = open_clip.get_tokenizer(name)
    if type(tokenizer) is not open_clip.SimpleTokenizer or text_config.get("tokenizer_kwargs"):
        return tokenizer
    return BoundedTokenizer(context_length=tokenizer.context_length)


def _weight_files(name: str, weights: str) -> list[Path]:
    """The local files that open_clip would read."""
    if name.startswith(_LOCAL):
        folder = Path(name.removeprefix(_LOCAL))
        return [path for path in folder.glob("*") if path.suffix in (".bin", ".pth") and path.is_file()]
    try:
        return [Path(weights)] if Path(weights).is_file() else []
    except OSError:  # too long for a path
        return []


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Silence the loggers of open_clip and of the hub's client, whose content is in their exceptions."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Another activation function than in training would change the embeddings, so it is an error.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            yield
    finally:
        logging.disable(disabled)


def _remedy(reason: str) -> str:
    if "download" in reason:
        return "; connect to the internet once, or give a local file: NAME:FILE"
    if "not a known tag" in reason:
        return "; open_clip.list_pretrained() lists the tags, or give a local file: NAME:FILE"
    return ""
