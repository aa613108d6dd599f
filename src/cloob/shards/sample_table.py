"""Byte range and digest of every sample of a corpus in 24 bytes each: 0.36 GB for 14.8 million samples."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cloob.common.errors import InputError
from cloob.shards.digests import image_digests
from cloob.shards.manifest import read_index

# Shared file systems answer several requests at once. Each thread takes 10 MB of memory; more threads than
# cores take a fifth more CPU time.
_MAX_THREADS = 4
_BLOCK_BITS = 9  # members of a tar begin at multiples of 512 bytes, so that 32 bits address 2 TB
_UINT32_MAX = 2**32 - 1
_OFFSETS, _LENGTHS = ("image_offset", "caption_offset"), ("image_length", "caption_length")
_COLUMNS = pa.schema(
    [(name, pa.int64()) for name in (*_OFFSETS, *_LENGTHS)] + [("sha256", pa.string())],
)


class SampleTable:
    """The indexes of all shards in preallocated columns, which forked processes share.

    Reading raises the errors of `read_index`. What only error messages need, such as keys, is not read.
    """

    def __init__(self, shards: Sequence[dict[str, Any]], tars: Sequence[Path]) -> None:
        """`shards` are the entries of the manifest, `tars` their files."""
        self._ends = np.cumsum([shard["samples"] for shard in shards], dtype=np.int64)  # of each shard
        samples = len(self)
        self._columns = {name: np.empty(samples, dtype=np.uint32) for name in (*_OFFSETS, *_LENGTHS)}
        self.digest = np.empty(samples, dtype=np.uint64)
        """The first 64 bits of each image's SHA-256; equal for samples that share an image."""
        threads = min(_MAX_THREADS, len(os.sched_getaffinity(0)))
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(self._read_shard, range(len(shards)), shards, tars):
                pass
        pa.default_memory_pool().release_unused()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def shard(self, index: int | np.ndarray) -> Any:
        """The number of the shard that contains a sample; or of each of several samples."""
        return np.searchsorted(self._ends, index, side="right")

    def samples_of(self, shard: int) -> range:
        """The samples in a shard."""
        end = int(self._ends[shard])
        return range(int(self._ends[shard - 1]) if shard else 0, end)

    def byte_range(self, index: int, part: str) -> tuple[int, int]:
        """Offset and length of the `image` or `caption` of a sample in its tar."""
        offset, length = self._columns[f"{part}_offset"][index], self._columns[f"{part}_length"][index]
        return int(offset) << _BLOCK_BITS, int(length)

    def _read_shard(self, number: int, shard: dict[str, Any], tar: Path) -> None:
        index = read_index(shard, tar, _COLUMNS)
        samples = self.samples_of(number)
        rows = slice(samples.start, samples.stop)
        try:
            for name, column in self._columns.items():
                if index[name].null_count:
                    raise ValueError(f"{name} is missing")
                # One pass finds every bit that is set in any value, the signs of negative values included.
                values, shift = index[name].to_numpy(), _BLOCK_BITS if name in _OFFSETS else 0
                if int(np.bitwise_or.reduce(values)) & ~(_UINT32_MAX << shift):
                    raise ValueError(f"{name} is not the position of a member of a tar")
                np.right_shift(values, shift, out=column[rows], casting="unsafe")
            for part in ("image", "caption"):
                ends = index[f"{part}_offset"].to_numpy() + index[f"{part}_length"].to_numpy()
                if ends.max(initial=0) > shard["bytes"]:
                    raise ValueError(f"the {part} of a sample is beyond the end of the tar")
            self.digest[rows] = image_digests(index["sha256"].combine_chunks())
        except ValueError as error:
            raise InputError(
                f"{tar.with_suffix('.parquet')}: not a shard index ({error}); pack the shards again"
            ) from None
