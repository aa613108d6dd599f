"""Features on disk, found again by what they are of: weights, data and preprocessing, never a path."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, raise_if_io_error
from cloob.common.locks import file_lock
from cloob.evaluate.features.batched import Tensors


def tensors_sha256(tensors: Tensors) -> str:
    """A hash of names, types, shapes and values, whatever their order, strides or file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def text_sha256(content: Any) -> str:
    """A hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def cached(folder: Path, name: str, key: dict[str, Any], make: Callable[[], Tensors]) -> Tensors:
    """The tensors that `make` makes, from `folder` where they lie there under the same `key` already.

    `key` is all that they depend on; `name` only helps a person to find the file. A file that is damaged or
    of another key is named in a warning and made again. Where another process makes it, it is waited for.
    What is not finite is not kept: `InputError`.
    """
    path = folder / f"{name}_{text_sha256(key)[:16]}.safetensors"
    tensors, _ = _read(path, key)
    if tensors is not None:
        return tensors
    with file_lock(path):
        tensors, damage = _read(path, key)  # another process may have made it
        if tensors is not None:
            return tensors
        if damage:
            print(f"warning: {path} is made again: {damage}", flush=True)
        tensors = {part: tensor.contiguous() for part, tensor in make().items()}
        _check_finite(tensors, name)
        about = {"key": json.dumps(key, sort_keys=True), "sha256": tensors_sha256(tensors)}
        with atomic_write(path) as beside:
            save_file(tensors, beside, about)
    return tensors


def _check_finite(tensors: Tensors, name: str) -> None:
    for part, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            rows = int((~torch.isfinite(tensor)).any(dim=1).sum())
            raise InputError(
                f"{name}: {rows} of {len(tensor)} embeddings ({part}) are not finite; training diverged, or "
                "the weights are damaged"
            )


def _read(path: Path, key: dict[str, Any]) -> tuple[Tensors | None, str]:
    """The tensors of a file; where there are none, what is wrong with it: nothing where it is not there."""
    if not path.exists():
        return None, ""
    try:
        path.open("rb").close()  # every error on opening is "No such file" to safetensors
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise_if_io_error(error, path)
        return None, str(error).splitlines()[0] if str(error) else type(error).__name__
    if about.get("key") != json.dumps(key, sort_keys=True):
        return None, "it is of another checkpoint, data set or preprocessing"
    if about.get("sha256") != tensors_sha256(tensors):
        return None, "it has not the checksum that it was written with"
    return tensors, ""
