"""Load trained models: checkpoints of this pipeline, the authors' released ones, and open_clip's."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cloob.common.errors import InputError, raise_if_io_error
from cloob.models.clip import CLIPModel, build_model
from cloob.models.config import ModelConfig
from cloob.models.interface import ImageTextModel
from cloob.models.open_clip_models import CONFIG_FILE, load_open_clip
from cloob.models.released import convert, is_released
from cloob.models.safe_load import check_no_downloads, checkpoint_metadata, read_weights

# Where the workflow puts released models, by the names that the configuration gives them.
RELEASED_FOLDER = Path("results/download/released")
_LOCAL = "local-dir:"


def load_model(source: str | Path, device: str | torch.device = "cpu") -> ImageTextModel:
    """Load a trained model in evaluation mode on `device`.

    `source` is one of

    - the folder of a run, a checkpoint of the train stage, or one of the authors' released checkpoints
      (recognized by content);
    - the name of a released model of the configuration that the workflow has downloaded to
      `results/download/released`, relative to the current folder;
    - a pretrained model of open_clip with CLIP's tokenizer: `NAME:TAG` (`RN50:yfcc15m`), `NAME:FILE` with a
      file of weights, `hf-hub:OWNER/REPOSITORY`, or a folder with an `open_clip_config.json`, such as the
      `open_clip` folder of a run, or the `.safetensors` in it.

    `metadata` of the model has at least `run` (a dict with `name`) and `epoch` (None for open_clip's models).
    For checkpoints of this pipeline it has everything except weights and optimizer state; for released ones
    also `model_config`, `inv_temperature` and `hopfield_beta` as stored.

    Loading never executes code: a pickle that contains anything but tensors and plain containers is rejected.
    Raises `InputError`.
    """
    path = Path(str(source).removeprefix(_LOCAL))
    if _exists(path, Path.is_dir):
        return _load_folder(path, device)
    if _exists(path, Path.is_file):
        return _load_safetensors(path, device) if path.suffix == ".safetensors" else _load_file(path, device)
    if len(path.parts) == 1:
        for released in (RELEASED_FOLDER / f"{source}.pt", RELEASED_FOLDER / source):
            if _exists(released, Path.exists):
                return load_model(released, device)
    return load_open_clip(str(source), device)


def _load_file(path: Path, device: str | torch.device) -> CLIPModel:
    """A checkpoint of this pipeline or of the authors."""
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
            _check_weights(config, weights)
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


def _check_weights(config: ModelConfig, weights: dict[str, Any]) -> None:
    """Raise `InputError` if weights are not those of a configuration, before memory is allocated for it."""
    layers = [config[part].get("layers", 1) for part in ("vision_cfg", "text_cfg")]
    num_layers = sum(sum(number) if isinstance(number, list | tuple) else number for number in layers)
    if num_layers > len(weights):
        raise InputError(f"its model_config has {num_layers} layers, but there are {len(weights)} weights")
    with torch.device("meta"):  # shapes only
        expected = build_model(config).state_dict()
    for name in [*expected, *weights]:
        shapes = [tuple(part[name].shape) if name in part else "missing" for part in (expected, weights)]
        if shapes[0] != shapes[1]:
            raise InputError(f"weight {name!r:.80} is {shapes[1]}, in its model_config {shapes[0]}")


def _load_folder(folder: Path, device: str | torch.device) -> ImageTextModel:
    """A finished run, or a folder in open_clip's format."""
    if (folder / "final.pt").is_file():
        return _load_file(folder / "final.pt", device)
    for candidate in (folder, folder / "open_clip"):
        if (candidate / CONFIG_FILE).is_file():
            return load_open_clip(f"{_LOCAL}{candidate}", device)
    raise InputError(
        f"{folder}: neither a finished run (final.pt) nor a model in open_clip's format ({CONFIG_FILE}); "
        "give a checkpoint, or finish the run"
    )


def _load_safetensors(path: Path, device: str | torch.device) -> ImageTextModel:
    """The weights in a folder in open_clip's format."""
    if not (path.parent / CONFIG_FILE).is_file():
        raise InputError(
            f"{path}: there is no {CONFIG_FILE} beside it; give weights of an open_clip model as NAME:FILE"
        )
    return load_open_clip(f"{_LOCAL}{path.parent}", device)


def _exists(path: Path, is_kind: Callable[[Path], bool]) -> bool:
    try:
        return is_kind(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # not a path but the name of a model on a hub
            return False
        raise
