"""Safe checkpoint loading: weights only, with CRC and metadata checks."""

import math
import struct
import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor

from cloob.common.errors import InputError, io_errors_at, raise_if_io_error


def read_weights(path: Path) -> dict[str, Any]:
    """The dictionary in a torch.save file of tensors and plain containers only; raises `InputError`."""
    check_crc(path)
    check_no_code(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_mappable(path))
    except (UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise_if_io_error(error, path)
        raise load_error(path, error) from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: contains a {type(content).__name__}, not a checkpoint")
    return content


def check_crc(path: Path) -> None:
    """Raise `InputError` where a member of a zip file fails its CRC, which torch does not check."""
    if not _is_zip(path):
        return
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()
    except (BadZipFile, OSError, EOFError, ValueError, zlib.error, struct.error, RuntimeError) as error:
        raise_if_io_error(error, path)
        raise InputError(f"{path}: damaged or not a checkpoint ({error}); recreate or download it") from None
    if damaged is not None:
        raise InputError(f"{path}: damaged, checksum mismatch in {damaged}; recreate or download it")


def check_no_code(path: Path) -> None:
    """Raise `InputError` for a TorchScript file, such as those that OpenAI distributes."""
    if not _is_zip(path):
        return
    with io_errors_at(path), ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        raise InputError(
            f"{path}: a TorchScript program, such as OpenAI's own files, which could execute arbitrary code, "
            "so it is rejected; use the tag of open_clip instead (RN50:openai), or a bare state_dict"
        )


def _is_mappable(path: Path) -> bool:
    """Whether a file is a zip without compressed members, whose bytes torch would map as weights."""
    if not _is_zip(path):
        return False
    with io_errors_at(path), ZipFile(path) as archive:
        return all(member.compress_type == ZIP_STORED for member in archive.infolist())


def _is_zip(path: Path) -> bool:
    """The test that torch.load applies. (`zipfile.is_zipfile` is False for truncated files.)"""
    with io_errors_at(path), path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def is_unsafe_pickle(error: Exception) -> bool:
    """Whether torch.load failed because `weights_only` forbids the content of the file."""
    return isinstance(error, UnpicklingError) or "weights_only" in str(error)


def load_error(source: str | Path, error: Exception) -> InputError:
    """The `InputError` for a failed torch.load, without torch's advice to load with `weights_only=False`."""
    # GLOBAL is the opcode that names a class or function; other unpickling errors mean a damaged file.
    if is_unsafe_pickle(error) and ("GLOBAL" in str(error) or not isinstance(error, UnpicklingError)):
        return InputError(
            f"{source}: contains Python objects besides weights, and unpickling them could execute arbitrary "
            "code, so it is rejected; ask its author for the bare state_dict or safetensors"
        )
    if isinstance(error, UnpicklingError):
        return InputError(f"{source}: damaged or not a checkpoint; recreate or download it")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"{source}: damaged or not a checkpoint ({reason}); recreate or download it")


def checkpoint_metadata(source: str | Path, metadata: dict[str, Any], logit_scale: Tensor) -> dict[str, Any]:
    """The metadata of a checkpoint, validated so that it can be written to a result file.

    Raises `InputError` if `run`, `epoch` or the temperature is invalid.
    """
    run, epoch = metadata.get("run"), metadata.get("epoch")
    if not isinstance(run, dict) or not all(map(_is_scalar, (*run, *run.values()))):
        raise InputError(f"{source}: `run` is not a dictionary of scalars; export the weights again")
    if isinstance(epoch, Tensor) and epoch.ndim == 0 and not epoch.is_floating_point():
        epoch = epoch.item()
    if epoch is not None and type(epoch) is not int:
        raise InputError(f"{source}: `epoch` is not an integer; export the weights again")
    if not math.isfinite(logit_scale.detach().double().exp()):
        raise InputError(f"{source}: 1/τ is not finite; training diverged, or the weights are damaged")
    return metadata | {"epoch": epoch}


def _is_scalar(value: object) -> bool:
    return (
        value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    )


def check_no_downloads(config: dict[str, Any]) -> None:
    """Raise `InputError` for a model configuration that makes open_clip download a model."""
    for part in ("vision_cfg", "text_cfg"):
        for key in config[part]:
            if key.startswith(("timm_", "hf_")):
                raise InputError(f"model_config has {part}.{key}, which could download a model")
