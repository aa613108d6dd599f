"""Random access to finished shards: image and caption of the i-th sample, by its place in a tar.

Needs numpy and pyarrow only. Readers may be shared by forked or pickled workers: reading leaves no
trace in the open files (`pread`), which each process opens when it needs them.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cloob.common.errors import InputError, io_errors_at
from cloob.shards.manifest import VERIFY_HINT, read_index, read_manifest

# Well under the usual limit of 1024 open files; the paper's YFCC has some 1500 shards.
_OPEN_SHARDS = 256
# Consecutive samples that are asked for at once: some 3 MB, as a parallel file system likes its reads.
READ_BLOCK = 64
_BLOCKS_AHEAD = 1024  # remembered as asked for
_TEXTS = ("key", "sha256")
_PLACES = ("image_offset", "image_length", "caption_offset", "caption_length")
_INDEX = pa.schema([(name, pa.string()) for name in _TEXTS] + [(name, pa.int64()) for name in _PLACES])


class _OpenFile:
    """A descriptor that closes with the last reference to it."""

    number: int | None = None  # where opening failed

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self.number is not None:
            os.close(self.number)


class Shards:
    """All samples of a corpus in the order of its list.

    Raises `InputError` on opening where a shard has not the size, or its index not the hash or the samples
    that the manifest (`shards.json`) says: what was changed after packing. Every method that reads raises
    `OSError`, naming the file, where the system cannot read it.
    """

    def __init__(self, manifest: str | Path) -> None:
        self.path = Path(manifest)
        self.manifest = read_manifest(self.path)
        self.tars = [self.path.parent / shard["name"] for shard in self.manifest["shards"]]
        tables = [
            read_index(shard, tar, _INDEX)
            for shard, tar in zip(self.manifest["shards"], self.tars, strict=True)
        ]
        index = pa.concat_tables([_INDEX.empty_table(), *tables])
        # Arrow's buffers, unlike a list of strings, stay shared between forked workers.
        self._keys = index["key"].combine_chunks()
        self._sha256 = index["sha256"].combine_chunks()
        self._places = {name: index[name].to_numpy() for name in _PLACES}
        self._shard = np.repeat(np.arange(len(tables), dtype=np.int32), [table.num_rows for table in tables])
        self._forget()

    def __len__(self) -> int:
        return len(self._shard)

    def sample(self, index: int) -> tuple[bytes, str, str]:
        """JPEG bytes, caption and key of sample `index` (0-based; IndexError beyond the last).

        Raises `InputError` where the bytes are not those of the index's hash.
        """
        self._ask_for_block(index // READ_BLOCK)
        image = self._read(index, "image")
        if sha256(image).hexdigest() != self.image_sha256(index):
            raise InputError(
                f"{self.tar_of(index)}: changed after packing: sample {self._keys[index]} is not the "
                f"image of its index; {VERIFY_HINT}"
            )
        return image, self.caption(index), self._keys[index].as_py()

    def image_sha256(self, index: int) -> str:
        """The SHA-256 of an image's bytes, as packed: the same of a picture that has several captions."""
        return self._sha256[index].as_py()

    def caption(self, index: int) -> str:
        """The caption alone. Raises `InputError` where it is not UTF-8."""
        try:
            return self._read(index, "caption").decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(
                f"{self.tar_of(index)}: changed after packing: the caption of sample "
                f"{self._keys[index]} is not UTF-8; {VERIFY_HINT}"
            ) from None

    def tar_of(self, index: int) -> Path:
        """The tar that holds sample `index`."""
        return self.tars[self._shard[index]]

    def samples_by_shard(self, indices: Sequence[int]) -> list[int]:
        """How many of these samples are in each shard, in the order of `tars`."""
        return np.bincount(
            self._shard[np.asarray(indices, dtype=np.int64)], minlength=len(self.tars)
        ).tolist()

    def _advise(self, block: int) -> None:
        """Have the operating system read a block in one go, while its first sample is decoded."""
        indices = range(block * READ_BLOCK, min((block + 1) * READ_BLOCK, len(self)))
        for shard in np.unique(self._shard[indices.start : indices.stop]):
            inside = indices.start + np.flatnonzero(self._shard[indices.start : indices.stop] == shard)
            offset, length = (self._places[f"image_{what}"][inside] for what in ("offset", "length"))
            begin, end = int(offset[0]), int(offset[-1] + length[-1])  # captions lie among the images
            with io_errors_at(self.tars[shard]):
                number = self._open(self.tars[shard]).number
                os.posix_fadvise(number, begin, end - begin, os.POSIX_FADV_WILLNEED)

    def _read(self, index: int, what: str) -> bytes:
        tar = self.tar_of(index)
        offset, length = (
            int(self._places[f"{what}_offset"][index]),
            int(self._places[f"{what}_length"][index]),
        )
        with io_errors_at(tar):
            content = os.pread(self._open(tar).number, length, offset)
        if len(content) != length:
            raise InputError(f"{tar}: ends within sample {self._keys[index]}; pack the shards again")
        return content

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.__dict__.items() if name not in ("_open", "_ask_for_block")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._open = lru_cache(maxsize=_OPEN_SHARDS)(_OpenFile)
        self._ask_for_block = lru_cache(maxsize=_BLOCKS_AHEAD)(self._advise)
