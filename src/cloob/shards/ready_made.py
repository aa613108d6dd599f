"""Webdataset shards that somebody froze: plain tars of image, and caption as text or in JSON, under any keys.

Nothing is unpacked: a member's name is read, never followed.
"""

import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from cloob.download.fates import RefusedError
from cloob.errors import InputError, raise_if_io
from cloob.shards.rows import Row, Source, read_place
from cloob.tars import open_tar

_WRAPPED = 100
_IMAGES = ("jpg", "jpeg", "png", "webp")


@dataclass(frozen=True)
class _TarPiece:
    tar: Path
    number: int
    maximum_bytes: int

    @property
    def stamp(self) -> str:
        found = self.tar.stat()
        return f"{self.tar.name} {self.number} {found.st_size} {found.st_mtime_ns}"

    def rows(self) -> list[Row]:
        """A row per sample: members of one name up to its first dot that follow one another."""
        try:
            with open_tar(self.tar, encoding="utf-8", errors="surrogateescape") as members:
                samples = [
                    (key, list(group))
                    for key, group in groupby(_files(members), lambda member: _parts(member)[0])
                ]
                self._check_end(members.offset)
        except (tarfile.TarError, OSError, ValueError) as error:
            raise_if_io(error, self.tar)
            raise InputError(f"{self.tar}: damaged ({error}); get it again, as a plain tar") from None
        seen: Counter[str] = Counter()
        rows = []
        for number, (key, group) in enumerate(samples):
            seen[key] += 1
            uid = f"{self.number:06d}_{number:06d}"
            try:
                if seen[key] > 1:
                    raise RefusedError("duplicate_key")
                rows.append(self._row(uid, key, group))
            except RefusedError as refusal:
                rows.append(Row(uid, "", None, refused=str(refusal)))
        return rows

    def _check_end(self, offset: int) -> None:
        """A header that it cannot read is the end to tarfile, and all behind it would be lost."""
        with self.tar.open("rb") as file:
            file.seek(offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"neither a header nor the end mark at byte {offset:,}")

    def _row(self, uid: str, key: str, group: list[tarfile.TarInfo]) -> Row:
        if not _is_safe(key):
            raise RefusedError("unsafe_name")
        members = {_parts(member)[1]: member for member in group}
        if len(members) < len(group):
            raise RefusedError("duplicate_key")
        if not all(member.isreg() and not member.issparse() for member in group):
            raise RefusedError("not_a_file")
        if any(member.size > self.maximum_bytes for member in group):
            raise RefusedError("too_many_bytes")
        images = [members[suffix] for suffix in _IMAGES if suffix in members]
        if not images:
            raise RefusedError("no_image")
        record = self._record(members.get("json"))
        caption = self._text(members["txt"]) if "txt" in members else record.get("caption")
        if not isinstance(caption, str):
            raise RefusedError("no_caption")
        provenance = {"url": record.get("url"), "tar": self.tar.name, "key": key}
        if record:
            provenance["json"] = record
        try:
            json.dumps([caption, provenance], ensure_ascii=False, allow_nan=False).encode("utf-8")
        except UnicodeEncodeError:  # half a surrogate pair, written as \\ud800
            raise RefusedError("not_utf8") from None
        except ValueError:  # a number beyond all floats
            raise RefusedError("bad_json") from None
        return Row(uid, caption, (self.tar, images[0].offset_data, images[0].size), None, provenance)

    def _record(self, member: tarfile.TarInfo | None) -> dict[str, Any]:
        if member is None:
            return {}
        try:
            # Wrapped, so that what nests as deeply as Python reads is not read by us and by nobody after us.
            text = "[" * _WRAPPED + self._text(member) + "]" * _WRAPPED
            record = json.loads(text, parse_constant=lambda _: None)  # NaN is no JSON, but often written
            for _ in range(_WRAPPED):
                (record,) = record
        except (ValueError, RecursionError):
            raise RefusedError("bad_json") from None
        return record if isinstance(record, dict) else {}

    def _text(self, member: tarfile.TarInfo) -> str:
        try:
            return read_place((self.tar, member.offset_data, member.size)).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise RefusedError("not_utf8") from None


def ready_made(folder: Path, maximum_bytes: int) -> Source:
    """All samples of the tars in a folder and those below it, in the order of their names.

    Refused where a member has more than `maximum_bytes`, its key comes twice in a tar or leads out of it,
    an image or a caption is missing, a text is not UTF-8. Raises `InputError` where there is no tar.
    """
    tars = sorted(path for path in folder.rglob("*.tar") if path.is_file())
    if not tars:
        raise InputError(
            f"{folder}: holds no *.tar; name the folder of the webdataset shards, unpacked from .gz"
        )
    return Source([_TarPiece(tar, number, maximum_bytes) for number, tar in enumerate(tars)], None, {})


def _files(members: Iterable[tarfile.TarInfo]) -> Iterator[tarfile.TarInfo]:
    return (member for member in members if not member.isdir())


def _parts(member: tarfile.TarInfo) -> tuple[str, str]:
    """Key and suffix, as webdataset parts them: at the first dot of the last part of the name."""
    folder, slash, name = member.name.rpartition("/")
    stem, _, suffix = name.partition(".")
    if name.startswith("."):  # also ".."
        stem, suffix = name, ""
    return folder + slash + stem, suffix.lower()


def _is_safe(key: str) -> bool:
    path = PurePosixPath(key)
    return key.isprintable() and not path.is_absolute() and ".." not in path.parts and "\\" not in key
