"""Webdataset shards that somebody froze: tars of image, and caption as text or in JSON, under any keys."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from cloob.common.accounting import RejectedError
from cloob.common.errors import InputError
from cloob.shards.source import InputSample, PackSource, read_byte_range
from cloob.shards.webdataset_tars import (
    TarMember,
    TarSample,
    decompress_tar,
    find_tars,
    has_uncompressed_copy,
    read_samples,
)

_WRAPPED = 100
_IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm")
_SHOWN = 5


@dataclass(frozen=True)
class _TarPiece:
    folder: Path
    tar: Path
    number: int
    max_bytes: int

    @property
    def stamp(self) -> str:
        found = self.tar.stat()
        return f"{self._name} {self.number} {found.st_size} {found.st_mtime_ns}"

    @property
    def _name(self) -> str:
        return _readable(str(self.tar.relative_to(self.folder)))

    def rows(self, work: Path) -> list[InputSample]:
        """A row per sample that webdataset reads; a compressed tar is decompressed to `work` first."""
        plain = decompress_tar(self.tar, work)
        twin = plain != self.tar and has_uncompressed_copy(self.tar, plain)
        try:
            samples, stray = read_samples(plain)
        except InputError as error:  # the user knows the compressed file
            raise InputError(str(error).replace(str(plain), str(self.tar))) from None
        if stray:
            _tell(f"{self.tar}: {sum(stray.values()):,} members are part of no sample and skipped", stray)
        seen: Counter[str] = Counter()
        rows = []
        for number, sample in enumerate(samples):
            seen[sample.key] += 1
            uid = f"{self.number:06d}_{number:06d}"
            try:
                if twin:
                    raise RejectedError("duplicate_tar")
                if seen[sample.key] > 1:
                    raise RejectedError("duplicate_key")
                rows.append(self._row(uid, sample, plain))
            except RejectedError as refusal:
                rows.append(InputSample(uid, "", None, refused=str(refusal)))
        return rows

    def _row(self, uid: str, sample: TarSample, plain: Path) -> InputSample:
        if not _is_safe(sample.key):
            raise RejectedError("unsafe_name")
        members = dict(sample.members)
        if len(members) < len(sample.members):
            raise RejectedError("duplicate_key")
        image = next((members[suffix] for suffix in _IMAGES if suffix in members), None)
        if image is None:
            raise RejectedError("not_a_file" if sample.linked else "no_image")
        for member in (image, members.get("json"), members.get("txt")):
            if member is not None and member.sparse:
                raise RejectedError("not_a_file")
            if member is not None and member.size > self.max_bytes:
                raise RejectedError("too_many_bytes")
        record = _record(plain, members.get("json"))
        caption = _text(plain, members["txt"]) if "txt" in members else record.get("caption")
        if not isinstance(caption, str):
            raise RejectedError("not_a_file" if sample.linked else "no_caption")
        provenance = {"url": record.get("url"), "tar": self._name, "key": sample.key}
        if record:
            provenance["json"] = record
        try:
            json.dumps([caption, provenance], ensure_ascii=False, allow_nan=False).encode("utf-8")
        except UnicodeEncodeError:  # half a surrogate pair, written as \\ud800
            raise RejectedError("not_utf8") from None
        except ValueError:  # a number beyond all floats
            raise RejectedError("bad_json") from None
        return InputSample(uid, caption, (plain, image.offset, image.size), None, provenance)


def webdataset_source(folder: Path, max_bytes: int) -> PackSource:
    """All samples of the tars in a folder and those below it, in the order of their names.

    Links in the folder are followed; gzip, bzip2 and xz are read. Refused where a member has more than
    `max_bytes`, its key comes twice in a tar or leads out of it, an image or a caption is missing, a text
    is not UTF-8. Raises `InputError` where there is no tar.
    """
    tars, others = find_tars(folder)
    if others:
        _tell(f"{folder}: {len(others):,} files are no tars of their own and not read", others)
    if not tars:
        raise InputError(
            f"{folder}: holds no *.tar (or .tar.gz, …); name the folder of the webdataset shards"
        )
    pieces = [_TarPiece(folder, tar, number, max_bytes) for number, tar in enumerate(tars)]
    return PackSource(
        pieces, None, {"tars": len(tars), "files_not_read": [_readable(name) for name in others]}
    )


def _readable(name: str) -> str:
    """A file's name for JSON, which holds UTF-8 only."""
    return os.fsencode(name).decode("utf-8", "replace")


def _tell(what: str, names: Iterable[str]) -> None:
    shown = [repr(name) for name in islice(names, _SHOWN + 1)]
    print(f"{what}: {', '.join(shown[:_SHOWN])}{', …' if len(shown) > _SHOWN else ''}", file=sys.stderr)


def _record(tar: Path, member: TarMember | None) -> dict[str, Any]:
    if member is None:
        return {}
    try:
        # Wrapped, so that what nests as deeply as Python reads is not read by us and by nobody after us.
        text = "[" * _WRAPPED + _text(tar, member) + "]" * _WRAPPED
        record = json.loads(text, parse_constant=lambda _: None)  # NaN is no JSON, but often written
        for _ in range(_WRAPPED):
            (record,) = record
    except (ValueError, RecursionError):
        raise RejectedError("bad_json") from None
    return record if isinstance(record, dict) else {}


def _text(tar: Path, member: TarMember) -> str:
    try:
        return read_byte_range((tar, member.offset, member.size)).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RejectedError("not_utf8") from None


def _is_safe(key: str) -> bool:
    path = PurePosixPath(key)
    return key.isprintable() and not path.is_absolute() and ".." not in path.parts and "\\" not in key
