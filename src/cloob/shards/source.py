"""What img2dataset has left, sample by sample in the order of the list."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from cloob.download.folder import Part, whole_parts
from cloob.errors import InputError
from cloob.shards.verdict import Place, read_place


@dataclass(frozen=True)
class Fetched:
    """A fetched image: where its bytes lie, and its caption."""

    uid: str
    caption: str
    place: Place

    def content(self) -> bytes:
        """The image's bytes."""
        return read_place(self.place)


def fetched(images: Path) -> Iterator[Fetched]:
    """Every image of img2dataset's folder, by uid.

    img2dataset cuts the list into consecutive shards and writes each in the order of the answers.
    Raises `InputError` where a tar is damaged or lacks an image that its table promises.
    """
    for part in whole_parts(images):
        yield from sorted(_of_part(part), key=lambda image: image.uid)


def _of_part(part: Part) -> Iterator[Fetched]:
    table = pq.read_table(part.table, columns=["key", "uid", "caption", "status"])
    try:
        with tarfile.open(part.tar, "r:") as tar:
            places = {member.name: (member.offset_data, member.size) for member in tar}
    except tarfile.TarError as error:
        raise InputError(f"{part.tar}: damaged ({error}); delete it and fetch again") from None
    for row in table.to_pylist():
        if row["status"] != "success":
            continue
        name = f"{row['key']}.jpg"
        if name not in places:
            raise InputError(f"{part.tar}: lacks {name}, which its table promises; delete it and fetch again")
        yield Fetched(row["uid"], row["caption"], (part.tar, *places[name]))
