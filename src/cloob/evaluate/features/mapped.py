"""Tensors of a safetensors file, mapped into memory: they need memory only where they are being read."""

import json
import math
import mmap
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

_HEADER_SIZE_BYTES = 8
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class MappedTensors(dict[str, Tensor]):
    """The tensors of a file by name. They share its mapping, and must not be modified."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError`, `SafetensorError` or `KeyError` (of a dtype) if the file cannot be read."""
        super().__init__()
        with path.open("rb") as file:  # safetensors reports every error on opening as "No such file"
            safe_open(path, framework="pt").__exit__(None, None, None)  # checks all of the header
            self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        start = _HEADER_SIZE_BYTES + int.from_bytes(self._mapping[:_HEADER_SIZE_BYTES], "little")
        header = json.loads(self._mapping[_HEADER_SIZE_BYTES:start])
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        for name, entry in header.items():
            dtype, shape, offset = _DTYPES[entry["dtype"]], entry["shape"], start + entry["data_offsets"][0]
            count = math.prod(shape)
            values = (
                torch.frombuffer(self._mapping, dtype=dtype, count=count, offset=offset)
                if count
                else torch.empty(0, dtype=dtype)
            )
            self[name] = values.reshape(shape)

    def release_pages(self) -> None:
        """Return the memory of the pages that have been read; they are read again when they are needed."""
        self._mapping.madvise(mmap.MADV_DONTNEED)
