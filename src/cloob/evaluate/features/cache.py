"""A content-addressed cache of tensors on disk: keys contain hashes of weights and data, never paths."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, raise_if_io_error
from cloob.common.hashing import json_sha256
from cloob.common.locks import file_lock
from cloob.evaluate.features.batched import Tensors
from cloob.evaluate.features.finite import count_non_finite_rows
from cloob.evaluate.features.mapped import MappedTensors


def tensors_sha256(tensors: Tensors) -> str:
    """A hash of names, dtypes, shapes and values, independent of order, strides and file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def cache_path(folder: Path, name: str, key: dict[str, Any]) -> Path:
    """The file of cached tensors."""
    return folder / f"{name}_{json_sha256(key)[:16]}.safetensors"


def cached(folder: Path, name: str, key: dict[str, Any], compute: Callable[[], Tensors]) -> MappedTensors:
    """The tensors that `compute` returns, mapped from the file in `folder` that caches them under `key`.

    `key` is everything that the tensors depend on; `name` only makes the file recognizable. A damaged file,
    or one with another key, is recomputed with a warning. If another process is computing the same tensors,
    this one waits for it. Non-finite tensors are not cached: `InputError`.
    """
    path = cache_path(folder, name, key)
    tensors, _ = _read(path, key)
    if tensors is not None:
        return tensors
    with file_lock(path):
        tensors, problem = _read(path, key)  # another process may have written it meanwhile
        if tensors is not None:
            return tensors
        if problem:
            print(f"warning: {path} is recomputed: {problem}", flush=True)
        computed = {part: tensor.contiguous() for part, tensor in compute().items()}
        _check_finite(computed, name)
        metadata = {"key": json.dumps(key, sort_keys=True), "sha256": tensors_sha256(computed)}
        with atomic_write(path) as temporary:
            save_file(computed, temporary, metadata)
            return MappedTensors(temporary)  # before another process can delete the file


def _check_finite(tensors: Tensors, name: str) -> None:
    for part, tensor in tensors.items():
        if tensor.is_floating_point() and (rows := count_non_finite_rows(tensor)):
            raise InputError(
                f"{name}: {rows} of {len(tensor)} embeddings ({part}) are not finite; training diverged, or "
                "the weights are damaged"
            )


def _read(path: Path, key: dict[str, Any]) -> tuple[MappedTensors | None, str]:
    """The tensors of a file, or None and the problem of the file (an empty string if it does not exist)."""
    if not path.exists():
        return None, ""
    try:
        tensors = MappedTensors(path)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise_if_io_error(error, path)
        return None, str(error).splitlines()[0] if str(error) else type(error).__name__
    if tensors.metadata.get("key") != json.dumps(key, sort_keys=True):
        return None, "it belongs to another checkpoint, dataset or preprocessing"
    if tensors.metadata.get("sha256") != tensors_sha256(tensors):
        return None, "its checksum does not match"
    tensors.release_pages()
    return tensors, ""
