"""Random access to packed shards: read image and caption of sample `i` by their byte ranges in a tar.

Needs numpy and pyarrow only. A `Shards` object can be shared with forked workers or pickled to others: reads
do not move file positions (`pread`), and each process opens files when it needs them.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cloob.common.errors import InputError, io_errors_at
from cloob.common.open_files import reserve_open_files
from cloob.shards.digests import image_digest
from cloob.shards.manifest import VERIFY_HINT, read_index, read_manifest
from cloob.shards.sample_table import SampleTable

# Consecutive samples that are requested from the operating system at once: about 3 MB, a read size that suits
# parallel file systems. Training draws samples in blocks of this size.
READ_BLOCK = 64
# Linux silently ignores the part of a request that exceeds the device's maximum read-ahead or request size.
_PIECE_BYTES = 512 * 1024
_REMEMBERED_BLOCKS = 8192  # that `sample` does not request again: two shuffle windows of 16 streams
_KEY = pa.schema([("key", pa.string())])


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

    Opening takes 24 bytes of memory per sample, and raises `InputError` if the size of a tar, or the SHA-256
    or the number of samples of an index, differs from the manifest, or if an index has a byte range beyond
    the end of its tar. All methods that read raise `OSError`, naming the file, for I/O errors.
    """

    def __init__(self, manifest: str | Path) -> None:
        self.path = Path(manifest)
        self.manifest = read_manifest(self.path)
        self.tars = [self.path.parent / shard["name"] for shard in self.manifest["shards"]]
        self._samples = SampleTable(self.manifest["shards"], self.tars)
        self._init_caches()

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def image_digests(self) -> np.ndarray:
        """The first 64 bits of the SHA-256 of every image (uint64); equal for samples that share an image."""
        return self._samples.digest

    def sample(self, index: int) -> tuple[bytes, str]:
        """JPEG bytes and caption of a sample (0-based index; IndexError beyond the last).

        Raises `InputError` if the image does not have the SHA-256 in the index (64 bits are compared).
        """
        expected = int(self._samples.digest[index])
        if (block := index // READ_BLOCK) not in self._requested:
            self._request(block)
        image = self._read(index, "image")
        if image_digest(image) != expected:
            raise InputError(
                f"{self.tar_path(index)}: changed after packing: the image of sample {self.key(index)} "
                f"differs from the index (SHA-256); {VERIFY_HINT}"
            )
        return image, self.caption(index)

    def caption(self, index: int) -> str:
        """The caption of a sample. Raises `InputError` if it is not UTF-8."""
        try:
            return self._read(index, "caption").decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(
                f"{self.tar_path(index)}: changed after packing: the caption of sample {self.key(index)} "
                f"is not UTF-8; {VERIFY_HINT}"
            ) from None

    def key(self, index: int) -> str:
        """The key of a sample, read from the index of its shard."""
        shard = int(self._samples.shard(index))
        return self._keys(shard)[index - self._samples.samples_of(shard).start].as_py()

    def tar_path(self, index: int) -> Path:
        """The tar that contains a sample."""
        return self.tars[self._samples.shard(index)]

    def count_per_shard(self, indices: Sequence[int]) -> list[int]:
        """How many of the samples are in each shard, in the order of `tars`."""
        shards = self._samples.shard(np.asarray(indices, dtype=np.int64))
        return np.bincount(shards, minlength=len(self.tars)).tolist()

    def request_blocks(self, blocks: Iterable[int]) -> None:
        """Have the operating system read blocks into its page cache in the background.

        Block b has `READ_BLOCK` samples, from sample b · `READ_BLOCK`. It is requested even if it was before,
        because the page cache may have dropped it. `sample` requests blocks that were not requested recently.
        """
        for block in blocks:
            self._request(block)

    def open_files_note(self) -> str:
        """A line for the log if the limit on open files is too low to keep all shards open; else empty."""
        if self._max_open == len(self.tars):
            return ""
        return (
            f"note: {self.path}: only {self._max_open:,} of {len(self.tars):,} shards are kept open, because "
            "of the hard limit on open files (ulimit -Hn); the others are opened for every read. Raise the "
            f"limit to {2 * len(self.tars):,} if loading is slow"
        )

    def _request(self, block: int) -> None:
        index, end = block * READ_BLOCK, min((block + 1) * READ_BLOCK, len(self))
        while index < end:
            shard = int(self._samples.shard(index))
            last = min(end, self._samples.samples_of(shard).stop) - 1
            start, _ = self._samples.byte_range(index, "image")
            stop = sum(self._samples.byte_range(last, "image"))  # includes the captions in between
            with io_errors_at(self.tars[shard]):
                descriptor = self._open(shard).descriptor
                for piece in range(start, stop, _PIECE_BYTES):
                    length = min(_PIECE_BYTES, stop - piece)
                    os.posix_fadvise(descriptor, piece, length, os.POSIX_FADV_WILLNEED)
            index = last + 1
        self._requested[block] = None
        self._requested.move_to_end(block)
        if len(self._requested) > _REMEMBERED_BLOCKS:
            self._requested.popitem(last=False)

    def _read(self, index: int, part: str) -> bytes:
        shard = int(self._samples.shard(index))
        offset, length = self._samples.byte_range(index, part)
        with io_errors_at(self.tars[shard]):
            content = os.pread(self._open(shard).descriptor, length, offset)
        if len(content) != length:
            raise InputError(
                f"{self.tars[shard]}: ends within sample {self.key(index)}; pack the shards again"
            )
        return content

    def __getstate__(self) -> dict[str, Any]:
        caches = ("_open", "_requested", "_keys")
        return {name: value for name, value in self.__dict__.items() if name not in caches}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._init_caches()

    def _init_caches(self) -> None:
        # A micro-batch has samples of hundreds of shards: files that are not kept open are opened every time.
        self._max_open = reserve_open_files(self, len(self.tars))
        self._open = lru_cache(self._max_open)(lambda shard: _OpenFile(self.tars[shard]))
        self._requested: OrderedDict[int, None] = OrderedDict()  # the blocks last requested, oldest first
        self._keys = lru_cache(1)(
            lambda shard: read_index(self.manifest["shards"][shard], self.tars[shard], _KEY)["key"]
        )
