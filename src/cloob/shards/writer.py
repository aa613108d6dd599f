"""One finished shard: a plain webdataset tar and its index."""

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import io_errors_at, raise_if_io_error
from cloob.common.hashing import sha256_file
from cloob.images.near_duplicates import HASH_BYTES

INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("image_offset", pa.int64()),
        ("image_length", pa.int64()),
        ("caption_offset", pa.int64()),
        ("caption_length", pa.int64()),
        ("record_offset", pa.int64()),
        ("record_length", pa.int64()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("perceptual_hash", pa.binary(HASH_BYTES)),
    ]
)
ShardEntry = dict[str, str | int]
_WHOLE = 1 << 20  # most images are written at once
_PLAN, _BYTES, _DIGEST = b"plan", b"tar_bytes", b"tar_sha256"


@dataclass(frozen=True)
class Sample:
    """A verified image with its caption, and the JSON that says where they are from."""

    key: str
    image: bytes
    caption: str
    sha256: str
    width: int
    height: int
    record: str = "{}"
    perceptual_hash: bytes | None = None


def write_shard(tar: Path, samples: Iterable[Sample], plan: str = "") -> ShardEntry:
    """Write the tar and then, beside it, its index; return the shard's entry of the manifest.

    The same samples give the same bytes: no time, no user of this machine stands in the headers. `plan`, a
    hash of what the shard is to hold, stands in the index: `finished_shard` knows the shard by it.
    """
    rows = []
    tar.with_suffix(".parquet").unlink(missing_ok=True)  # that of another tar would vouch for this one
    with atomic_write(tar) as beside:
        with tarfile.open(beside, "w:", format=tarfile.USTAR_FORMAT, copybufsize=_WHOLE) as archive:
            for sample in samples:
                image = _add(archive, f"{sample.key}.jpg", sample.image)
                record = _add(archive, f"{sample.key}.json", sample.record.encode("utf-8"))
                caption = _add(archive, f"{sample.key}.txt", sample.caption.encode("utf-8"))
                facts = (sample.sha256, sample.width, sample.height, sample.perceptual_hash)
                rows.append((sample.key, *image, *caption, *record, *facts))
        digest, size = sha256_file(beside), beside.stat().st_size
    schema = INDEX_SCHEMA.with_metadata({_PLAN: plan, _BYTES: str(size), _DIGEST: digest})
    with atomic_write(tar.with_suffix(".parquet")) as beside:
        columns = zip(*rows, strict=True)
        pq.write_table(pa.table(dict(zip(INDEX_SCHEMA.names, columns, strict=True)), schema=schema), beside)
    return _entry(tar, len(rows), size, digest)


def finished_shard(tar: Path, plan: str) -> ShardEntry | None:
    """The entry of a shard that an earlier run finished by the same plan, or None.

    The index is written last, so where it stands the tar was whole; its size is compared.
    """
    try:
        index = pq.read_metadata(tar.with_suffix(".parquet"))
        noted = index.metadata or {}
        same = noted.get(_PLAN) == plan.encode() and index.schema.names == INDEX_SCHEMA.names
        if same and int(noted[_BYTES]) == tar.stat().st_size:
            return _entry(tar, index.num_rows, int(noted[_BYTES]), noted[_DIGEST].decode())
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise_if_io_error(error, tar.with_suffix(".parquet"))
    return None


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> tuple[int, int]:
    """Add a member; return the offset and length of its bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.uname, member.gname = len(content), 0o444, "cloob", "cloob"
    start = archive.offset + tarfile.BLOCKSIZE  # after the one block of its header
    archive.addfile(member, io.BytesIO(content))
    return start, len(content)


def member_offsets(tar: Path) -> dict[str, tuple[int, int]]:
    """Offset and length of every member, as a reader of the tar finds them."""
    with io_errors_at(tar), tarfile.open(tar, "r:") as members:
        return {member.name: (member.offset_data, member.size) for member in members}


def _entry(tar: Path, samples: int, size: int, digest: str) -> ShardEntry:
    index = sha256_file(tar.with_suffix(".parquet"))
    return {"name": tar.name, "samples": samples, "bytes": size, "sha256": digest, "index_sha256": index}
