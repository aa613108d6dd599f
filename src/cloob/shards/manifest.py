"""The manifest of packed shards (`shards.json`): reading it and the shard indexes it lists, its checksums."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.errors import InputError, io_errno, io_errors_at, one_line
from cloob.common.json_files import read_json
from cloob.images.near_duplicates import HASH_VERSION

VERIFY_HINT = "run `cloob shards verify` to find the difference; restore the file or pack the shards again"
_SHARD_FIELDS = {"name": str, "samples": int, "bytes": int, "sha256": str, "index_sha256": str}
_NAME = re.compile(r"[^/\x00\ud800-\udfff]+\.tar")  # in the folder of the manifest
_BLOCK, _MAX_BLOCKS = 512, 2**32  # of a tar: a sample has more than one block, and 32 bits address a block


class ContentHash:
    """The SHA-256 over keys, image SHA-256s and captions in order, independent of the shard size."""

    def __init__(self) -> None:
        self._hash = sha256()

    def add(self, key: str, image_sha256: str, caption: str) -> None:
        """Add the next sample."""
        self._hash.update(json.dumps([key, image_sha256, caption]).encode("ascii") + b"\n")

    def hexdigest(self) -> str:
        """The hash of all samples added so far, in hexadecimal."""
        return self._hash.hexdigest()


def with_checksum(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with the field `checksum`: the SHA-256 over all other fields."""
    content = {name: value for name, value in manifest.items() if name != "checksum"}
    serialized = json.dumps(content, sort_keys=True).encode("ascii")
    return content | {"checksum": sha256(serialized).hexdigest()}


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a `shards.json`. Raises `InputError` if the file is not a manifest of shards."""
    manifest = read_json(path, "pack the shards again")
    try:
        is_valid = isinstance(manifest["sha256"], str) and all(
            all(type(shard[name]) is kind for name, kind in _SHARD_FIELDS.items())
            and _NAME.fullmatch(shard["name"])
            and 0 <= shard["samples"] <= shard["bytes"] // _BLOCK <= _MAX_BLOCKS
            for shard in manifest["shards"]
        )
    except (AttributeError, KeyError, TypeError):
        is_valid = False
    if not is_valid:
        raise InputError(f"{path}: not a shard manifest; give the shards.json that `cloob shards pack` wrote")
    return manifest


def check_hash_version(manifest: dict[str, Any], path: Path) -> None:
    """Raise `InputError` if the perceptual hashes of the shards are of another version of the program."""
    version = manifest.get("perceptual_hash", HASH_VERSION)  # the first manifests have no version
    if version != HASH_VERSION:
        raise InputError(
            f"{path}: its perceptual hashes are of version {version!r:.40}, not {HASH_VERSION!r}; "
            "pack the shards again"
        )


def read_index(shard: dict[str, Any], tar: Path, schema: pa.Schema) -> pa.Table:
    """Read the columns of `schema` from the index of a shard; `shard` is its entry in the manifest.

    Raises `InputError` if the tar or the index is missing or differs from the manifest.
    """
    path = tar.with_suffix(".parquet")
    try:
        size = tar.stat().st_size
        with io_errors_at(path):
            content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: listed in the manifest, but the file is missing; pack the shards again"
        ) from None
    if size != shard["bytes"]:
        raise InputError(f"{tar}: {size:,} bytes, {shard['bytes']:,} in the manifest; pack the shards again")
    if sha256(content).hexdigest() != shard["index_sha256"]:
        raise InputError(f"{path}: changed after packing (SHA-256 differs from the manifest); {VERIFY_HINT}")
    try:
        with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
            if missing := set(schema.names) - set(file.schema_arrow.names):
                raise InputError(
                    f"{path}: not an index of this version (missing: {', '.join(sorted(missing))}); "
                    "pack the shards again"
                )
            index = file.read(columns=schema.names, use_threads=False).select(schema.names)
            if index.schema.types != schema.types:  # casting copies the columns even if the types are equal
                index = index.cast(schema)
    except (OSError, KeyError, pa.ArrowException) as error:
        if io_errno(error) is not None:
            raise
        raise InputError(f"{path}: not a shard index ({one_line(error)}); pack the shards again") from None
    if index.num_rows != shard["samples"]:
        raise InputError(
            f"{path}: {index.num_rows:,} samples, {shard['samples']:,} in the manifest; pack the shards again"
        )
    return index
