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
import pyarrow.parquet as pq

from cloob.common.errors import InputError, io_errno, naming
from cloob.common.files import read_json

# Well under the usual limit of 1024 open files; the paper's YFCC has some 1500 shards.
_OPEN_SHARDS = 256
# Consecutive samples that are asked for at once: some 3 MB, as a parallel file system likes its reads.
BLOCK = 64
VERIFY = "`cloob shards verify` names what differs: restore it, or pack the shards again"
_BLOCKS_AHEAD = 1024  # remembered as asked for
_TEXTS = ("key", "sha256")
_PLACES = ("image_offset", "image_length", "caption_offset", "caption_length")
_OF_SHARD = {"name": str, "samples": int, "bytes": int, "sha256": str, "index_sha256": str}
_INDEX = pa.schema([(name, pa.string()) for name in _TEXTS] + [(name, pa.int64()) for name in _PLACES])


def read_manifest(path: Path) -> dict[str, Any]:
    """A shards.json. Raises `InputError` where it is none."""
    manifest = read_json(path)
    try:
        checkpoint_metadata = all(
            isinstance(shard[key], kind) for shard in manifest["shards"] for key, kind in _OF_SHARD.items()
        )
        if checkpoint_metadata and isinstance(manifest["sha256"], str):
            return manifest
    except (AttributeError, KeyError, TypeError):
        pass
    raise InputError(f"{path}: no manifest of shards; name the shards.json that `cloob shards pack` wrote")


def read_index(shard: dict[str, Any], tar: Path, schema: pa.Schema) -> pa.Table:
    """Some columns of the index of a shard, of which `shard` is the manifest's entry.

    Raises `InputError` where tar or index is missing or not what the manifest says: changed after packing.
    """
    index_file = tar.with_suffix(".parquet")
    try:
        size = tar.stat().st_size
        with naming(index_file):
            content = index_file.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: no such file, but the manifest names it; pack the shards again"
        ) from None
    if size != shard["bytes"]:
        raise InputError(
            f"{tar}: {size:,} bytes, the manifest says {shard['bytes']:,}; pack the shards again"
        )
    if sha256(content).hexdigest() != shard["index_sha256"]:
        raise InputError(
            f"{index_file}: its bytes differ from the manifest's hash, it was changed since it was "
            f"packed; {VERIFY}"
        )
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            if missing := set(schema.names) - set(file.schema_arrow.names):
                raise InputError(
                    f"{index_file}: no index of this version, it lacks {', '.join(sorted(missing))}; "
                    "pack the shards again"
                )
            index = file.read(columns=schema.names).select(schema.names).cast(schema)
    except (OSError, KeyError, pa.ArrowException) as error:
        if io_errno(error) is not None:
            raise
        raise InputError(f"{index_file}: no index ({error}); pack the shards again") from None
    if index.num_rows != shard["samples"]:
        raise InputError(
            f"{index_file}: {index.num_rows:,} samples, not {shard['samples']:,}; pack the shards again"
        )
    return index


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
        self._ask_for_block(index // BLOCK)
        image = self._read(index, "image")
        if sha256(image).hexdigest() != self.image_sha256(index):
            raise InputError(
                f"{self.tar_of(index)}: changed since it was packed, sample {self._keys[index]} is not the "
                f"image of its index; {VERIFY}"
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
                f"{self.tar_of(index)}: changed since it was packed, the caption of sample "
                f"{self._keys[index]} is not UTF-8; {VERIFY}"
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
        indices = range(block * BLOCK, min((block + 1) * BLOCK, len(self)))
        for shard in np.unique(self._shard[indices.start : indices.stop]):
            inside = indices.start + np.flatnonzero(self._shard[indices.start : indices.stop] == shard)
            offset, length = (self._places[f"image_{what}"][inside] for what in ("offset", "length"))
            begin, end = int(offset[0]), int(offset[-1] + length[-1])  # captions lie among the images
            with naming(self.tars[shard]):
                number = self._open(self.tars[shard]).number
                os.posix_fadvise(number, begin, end - begin, os.POSIX_FADV_WILLNEED)

    def _read(self, index: int, what: str) -> bytes:
        tar = self.tar_of(index)
        offset, length = (
            int(self._places[f"{what}_offset"][index]),
            int(self._places[f"{what}_length"][index]),
        )
        with naming(tar):
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
