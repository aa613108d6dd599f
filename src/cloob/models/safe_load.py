"""Files of weights: read without executing anything, and checked, also for what they tell of themselves."""

import math
import struct
import warnings
import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from cloob.common.errors import InputError, io_errors_at, raise_if_io_error


def read_weights(path: Path) -> dict[str, Any]:
    """What a file of torch.save holds, tensors and plain containers only; raises `InputError`."""
    check_members(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'torch.load' received a zip file")  # it is refused
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except (UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise_if_io_error(error, path)
        raise refusal(path, error) from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    return content


def check_members(path: Path) -> None:
    """Raise `InputError` where a bit of a zip changed since it was written: torch itself does not look."""
    if not _is_zip(path):
        return
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()
    except (BadZipFile, OSError, EOFError, ValueError, zlib.error, struct.error, RuntimeError) as error:
        raise_if_io_error(error, path)
        raise InputError(f"{path}: damaged, or no checkpoint ({error}); make or fetch it again") from None
    if damaged is not None:
        raise InputError(
            f"{path}: damaged, {damaged} has not the checksum it was written with; make or fetch it again"
        )


def _is_zip(path: Path) -> bool:
    """As torch.load decides it. (`zipfile.is_zipfile` says no where a file cannot be read, or is torn.)"""
    with io_errors_at(path), path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def refuses_code(error: Exception) -> bool:
    """Whether torch.load fails because it is to execute nothing."""
    return isinstance(error, UnpicklingError) or "weights_only" in str(error)


def refusal(source: str | Path, error: Exception) -> InputError:
    """Why torch does not load a file, without torch's advice to execute what it holds."""
    # GLOBAL is the opcode that names a class or function; of other unpickling errors the file is to blame.
    if refuses_code(error) and ("GLOBAL" in str(error) or not isinstance(error, UnpicklingError)):
        return InputError(
            f"{source}: holds Python objects besides weights, and loading them could run any code, so it is "
            "refused; ask its maker for the bare state_dict or safetensors"
        )
    if isinstance(error, UnpicklingError):
        return InputError(f"{source}: damaged, or no checkpoint; make or fetch it again")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"{source}: damaged, or no checkpoint ({reason}); make or fetch it again")


def checkpoint_metadata(source: str | Path, about: dict[str, Any], logit_scale: Tensor) -> dict[str, Any]:
    """What a checkpoint tells of itself, fit for a result file. Raises `InputError`."""
    run, epoch = about.get("run"), about.get("epoch")
    if not isinstance(run, dict) or not all(map(_is_plain, (*run, *run.values()))):
        raise InputError(f"{source}: its `run` is no dictionary of plain values; export the weights again")
    if isinstance(epoch, Tensor) and epoch.ndim == 0 and not epoch.is_floating_point():
        epoch = epoch.item()
    if epoch is not None and type(epoch) is not int:
        raise InputError(f"{source}: its `epoch` is no whole number; export the weights again")
    if not math.isfinite(logit_scale.detach().double().exp()):
        raise InputError(f"{source}: its 1/τ is not finite; training diverged, or the weights are damaged")
    return about | {"epoch": epoch}


def _is_plain(value: object) -> bool:
    return (
        value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    )


def check_own_config(config: dict[str, Any]) -> None:
    """Raise `InputError` for a file's configuration with which open_clip fetches a tower from the network."""
    for part in ("vision_cfg", "text_cfg"):
        for key in config[part]:
            if key.startswith(("timm_", "hf_")):
                raise InputError(f"its model_config has {part}.{key}, which could fetch from the network")
