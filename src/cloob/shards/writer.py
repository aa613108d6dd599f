"""One finished shard: a plain webdataset tar and its index."""

import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import webdataset

from cloob.files import replacing, sha256_of

INDEX = pa.schema(
    [
        ("key", pa.string()),
        ("image_offset", pa.int64()),
        ("image_length", pa.int64()),
        ("caption_offset", pa.int64()),
        ("caption_length", pa.int64()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Sample:
    """A verified image with its caption."""

    key: str
    image: bytes
    caption: str
    sha256: str
    width: int
    height: int


def write_shard(tar: Path, samples: Iterable[Sample]) -> dict[str, str | int]:
    """Write the tar and, beside it, its index; return the shard's entry of the manifest.

    The same samples give the same bytes: no time, no user of this machine stands in the headers.
    """
    facts = []
    with replacing(tar) as beside:
        with (
            beside.open("wb") as stream,
            webdataset.TarWriter(stream, user="cloob", group="cloob", mtime=0) as writer,
        ):
            for sample in samples:
                writer.write({"__key__": sample.key, "jpg": sample.image, "txt": sample.caption})
                facts.append((sample.key, sample.sha256, sample.width, sample.height))
        digest, size = sha256_of(beside), beside.stat().st_size
        places = _places(beside)
    rows = [
        (key, *places[f"{key}.jpg"], *places[f"{key}.txt"], sha256, width, height)
        for key, sha256, width, height in facts
    ]
    with replacing(tar.with_suffix(".parquet")) as beside:
        columns = zip(*rows, strict=True)
        pq.write_table(pa.table(dict(zip(INDEX.names, columns, strict=True)), schema=INDEX), beside)
    return {"name": tar.name, "samples": len(rows), "bytes": size, "sha256": digest}


def _places(tar: Path) -> dict[str, tuple[int, int]]:
    """Offset and length of every member, as a reader of the tar finds them."""
    with tarfile.open(tar, "r:") as members:
        return {member.name: (member.offset_data, member.size) for member in members}
