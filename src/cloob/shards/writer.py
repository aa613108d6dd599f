"""Write one shard: a plain webdataset tar and its index."""

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
# What every training process reads when it opens a corpus is not compressed: decompressing would take half
# of the time.
_READ_BY_TRAINING = ("image_offset", "image_length", "caption_offset", "caption_length", "sha256")
_COMPRESSION = {name: "none" if name in _READ_BY_TRAINING else "zstd" for name in INDEX_SCHEMA.names}
_REPEATED = ["record_length", "width", "height"]  # columns with few distinct values
ShardEntry = dict[str, str | int]  # of the manifest: name, samples, bytes, sha256, index_sha256
_COPY_BUFFER_BYTES = 1 << 20  # most images are written at once
_PLAN, _TAR_BYTES, _TAR_SHA256 = b"plan", b"tar_bytes", b"tar_sha256"  # metadata of the index


@dataclass(frozen=True)
class Sample:
    """A validated image with its caption, and a JSON record of its provenance."""

    key: str
    image: bytes
    caption: str
    sha256: str
    width: int
    height: int
    record: str = "{}"
    perceptual_hash: bytes | None = None


def write_shard(tar: Path, samples: Iterable[Sample], plan: str = "") -> ShardEntry:
    """Write the tar and then its index next to it; return the shard's manifest entry.

    The same samples give the same bytes: headers contain neither times nor users. `plan`, a hash of the
    planned content, is stored in the index, where `finished_shard` compares it.
    """
    rows = []
    tar.with_suffix(".parquet").unlink(missing_ok=True)  # never leave an index next to another tar
    with atomic_write(tar) as temporary:
        # `copybufsize` is not in typeshed.
        with tarfile.open(  # type: ignore[call-overload]
            temporary, "w:", format=tarfile.USTAR_FORMAT, copybufsize=_COPY_BUFFER_BYTES
        ) as archive:
            for sample in samples:
                image = _add_member(archive, f"{sample.key}.jpg", sample.image)
                record = _add_member(archive, f"{sample.key}.json", sample.record.encode("utf-8"))
                caption = _add_member(archive, f"{sample.key}.txt", sample.caption.encode("utf-8"))
                properties = (sample.sha256, sample.width, sample.height, sample.perceptual_hash)
                rows.append((sample.key, *image, *caption, *record, *properties))
        digest, size = sha256_file(temporary), temporary.stat().st_size
    schema = INDEX_SCHEMA.with_metadata({_PLAN: plan, _TAR_BYTES: str(size), _TAR_SHA256: digest})
    with atomic_write(tar.with_suffix(".parquet")) as temporary:
        columns = zip(*rows, strict=True)
        table = pa.table(dict(zip(INDEX_SCHEMA.names, columns, strict=True)), schema=schema)
        write_index(table, temporary)
    return _manifest_entry(tar, len(rows), size, digest)


def write_index(table: pa.Table, path: Path) -> None:
    """Write the index of a shard, a table with the columns of `INDEX_SCHEMA`."""
    pq.write_table(table, path, compression=_COMPRESSION, use_dictionary=_REPEATED)


def finished_shard(tar: Path, plan: str) -> ShardEntry | None:
    """The manifest entry of a shard that an earlier run finished with the same plan; None otherwise.

    The index is written last, so if it exists, the tar was complete; its size is compared.
    """
    try:
        index = pq.read_metadata(tar.with_suffix(".parquet"))
        metadata = index.metadata or {}
        is_same_plan = metadata.get(_PLAN) == plan.encode() and index.schema.names == INDEX_SCHEMA.names
        if is_same_plan and int(metadata[_TAR_BYTES]) == tar.stat().st_size:
            digest = metadata[_TAR_SHA256].decode()
            return _manifest_entry(tar, index.num_rows, int(metadata[_TAR_BYTES]), digest)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise_if_io_error(error, tar.with_suffix(".parquet"))
    return None


def _add_member(archive: tarfile.TarFile, name: str, content: bytes) -> tuple[int, int]:
    """Add a member; return the offset and length of its content."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.uname, member.gname = len(content), 0o444, "cloob", "cloob"
    offset = archive.offset + tarfile.BLOCKSIZE  # after a header of one block
    archive.addfile(member, io.BytesIO(content))
    return offset, len(content)


def member_offsets(tar: Path) -> dict[str, tuple[int, int]]:
    """Offset and length of the content of every member, as tarfile reads them."""
    with io_errors_at(tar), tarfile.open(tar, "r:") as members:
        return {member.name: (member.offset_data, member.size) for member in members}


def _manifest_entry(tar: Path, samples: int, size: int, digest: str) -> ShardEntry:
    index_digest = sha256_file(tar.with_suffix(".parquet"))
    return {
        "name": tar.name,
        "samples": samples,
        "bytes": size,
        "sha256": digest,
        "index_sha256": index_digest,
    }
