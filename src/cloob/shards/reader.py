"""Random access to packed shards: read image and caption of sample `i` by their byte ranges in a tar.

Needs numpy and pyarrow only. A `Shards` object can be shared with forked workers or pickled to others: reads
do not move file positions (`pread`), and each process opens files when it needs them.
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

# Well below the usual limit of 1024 open files; YFCC15M has about 1500 shards.
_MAX_OPEN_SHARDS = 256
# Consecutive samples that are requested from the operating system at once: about 3 MB, a read size that suits
# parallel file systems. Training draws samples in blocks of this size.
READ_BLOCK = 64
_REMEMBERED_BLOCKS = 1024  # blocks that are not requested again
_STRING_COLUMNS = ("key", "sha256")
_BYTE_RANGE_COLUMNS = ("image_offset", "image_length", "caption_offset", "caption_length")
_COLUMNS = pa.schema(
    [(name, pa.string()) for name in _STRING_COLUMNS] + [(name, pa.int64()) for name in _BYTE_RANGE_COLUMNS]
)


class _OpenFile:
    """A file descriptor that is closed with the last reference to it."""

    descriptor = -1  # if opening failed

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class Shards:
    """All samples of a packed corpus, in the order of the manifest (`shards.json`).

    Opening raises `InputError` if the size of a tar, or the SHA-256 or the number of samples of an index,
    differs from the manifest. All methods that read raise `OSError`, naming the file, for I/O errors.
    """

    def __init__(self, manifest: str | Path) -> None:
        self.path = Path(manifest)
        self.manifest = read_manifest(self.path)
        self.tars = [self.path.parent / shard["name"] for shard in self.manifest["shards"]]
        tables = [
            read_index(shard, tar, _COLUMNS)
            for shard, tar in zip(self.manifest["shards"], self.tars, strict=True)
        ]
        index = pa.concat_tables([_COLUMNS.empty_table(), *tables])
        # Arrow's buffers, unlike a list of strings, remain shared between forked workers.
        self._keys = index["key"].combine_chunks()
        self._sha256 = index["sha256"].combine_chunks()
        self._byte_ranges = {name: index[name].to_numpy() for name in _BYTE_RANGE_COLUMNS}
        self._shard = np.repeat(np.arange(len(tables), dtype=np.int32), [table.num_rows for table in tables])
        self._init_caches()

    def __len__(self) -> int:
        return len(self._shard)

    def sample(self, index: int) -> tuple[bytes, str, str]:
        """JPEG bytes, caption and key of a sample (0-based index; IndexError beyond the last).

        Raises `InputError` if the image does not have the SHA-256 in the index.
        """
        self._prefetch_block(index // READ_BLOCK)
        image = self._read(index, "image")
        if sha256(image).hexdigest() != self.image_sha256(index):
            raise InputError(
                f"{self.tar_path(index)}: changed after packing: the image of sample {self._keys[index]} "
                f"differs from the index (SHA-256); {VERIFY_HINT}"
            )
        return image, self.caption(index), self._keys[index].as_py()

    def image_sha256(self, index: int) -> str:
        """The SHA-256 of the image's bytes; equal for samples that share an image."""
        return self._sha256[index].as_py()

    def caption(self, index: int) -> str:
        """The caption of a sample. Raises `InputError` if it is not UTF-8."""
        try:
            return self._read(index, "caption").decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(
                f"{self.tar_path(index)}: changed after packing: the caption of sample {self._keys[index]} "
                f"is not UTF-8; {VERIFY_HINT}"
            ) from None

    def tar_path(self, index: int) -> Path:
        """The tar that contains a sample."""
        return self.tars[self._shard[index]]

    def count_per_shard(self, indices: Sequence[int]) -> list[int]:
        """How many of the samples are in each shard, in the order of `tars`."""
        return np.bincount(
            self._shard[np.asarray(indices, dtype=np.int64)], minlength=len(self.tars)
        ).tolist()

    def _advise(self, block: int) -> None:
        """Have the operating system read a block in one go while its first sample is decoded."""
        indices = range(block * READ_BLOCK, min((block + 1) * READ_BLOCK, len(self)))
        for shard in np.unique(self._shard[indices.start : indices.stop]):
            in_shard = indices.start + np.flatnonzero(self._shard[indices.start : indices.stop] == shard)
            offset, length = (self._byte_ranges[f"image_{field}"][in_shard] for field in ("offset", "length"))
            start, end = int(offset[0]), int(offset[-1] + length[-1])  # includes the captions in between
            with io_errors_at(self.tars[shard]):
                descriptor = self._open(self.tars[shard]).descriptor
                os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_WILLNEED)

    def _read(self, index: int, part: str) -> bytes:
        tar = self.tar_path(index)
        offset = int(self._byte_ranges[f"{part}_offset"][index])
        length = int(self._byte_ranges[f"{part}_length"][index])
        with io_errors_at(tar):
            content = os.pread(self._open(tar).descriptor, length, offset)
        if len(content) != length:
            raise InputError(f"{tar}: ends within sample {self._keys[index]}; pack the shards again")
        return content

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.__dict__.items() if name not in ("_open", "_prefetch_block")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._init_caches()

    def _init_caches(self) -> None:
        self._open = lru_cache(maxsize=_MAX_OPEN_SHARDS)(_OpenFile)
        self._prefetch_block = lru_cache(maxsize=_REMEMBERED_BLOCKS)(self._advise)
