"""Tar files that somebody else made: read in order, in bounded memory however many members they have.

tarfile keeps every member it has seen, and reads whatever a header announces (pax records, long names, maps
of sparse files) before anyone can look at it: 1.5 GB of zeros compress to 1.5 MB.
"""

import bz2
import gzip
import lzma
import math
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError

_MAX_HEADER = 1 << 20  # bytes before the content of a member; Linux limits a path to 4 kB
_PAX_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_WITH_BODY = (*_PAX_TYPES, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_PAX_LENGTH = re.compile(rb"(\d{1,7}) ")
_LONGEST_NUMBER = 1_000  # digits in a row; tarfile's patterns take quadratic time over them
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


class _Headers:
    """A stream that refuses to be read for more than a header between one `begin` and `end`.

    Bodies of pax headers are checked before tarfile sees them: Python 3.11 takes quadratic time and memory
    for malformed ones (CVE-2024-6232), and keeps all records of global ones.
    """

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path = stream, path
        self._left: float = math.inf
        self._global = 0  # bytes
        self.last = b""  # what was read last, unless it was the body of a header

    def begin(self) -> None:
        self._left = _MAX_HEADER

    def end(self) -> None:
        self._left = math.inf

    def read(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise InputError(
                f"{self._path}: a header of more than {_MAX_HEADER:,} bytes at byte "
                f"{self._stream.tell():,}; it is refused as a bomb: no data set needs it"
            )
        content = self._stream.read(size)
        if self._left < math.inf:
            kind = self.last[156:157]  # of a header
            if kind in _PAX_TYPES:
                self._check_pax(kind, content)
            self.last = b"" if kind in _WITH_BODY else content
        return content

    def _check_pax(self, kind: bytes, records: bytes) -> None:
        place = 0
        if max(map(len, re.findall(rb"\d+", records)), default=0) > _LONGEST_NUMBER:
            raise self._damaged()
        while length := _PAX_LENGTH.match(records, place):
            end = place + int(length[1])
            record = records[length.end() : end]
            if b"=" not in record or not record.endswith(b"\n"):
                raise self._damaged()
            place = end
        if records[place:].strip(b"\0"):
            raise self._damaged()
        self._global += len(records) if kind == tarfile.XGLTYPE else 0
        if self._global > _MAX_HEADER:
            raise InputError(
                f"{self._path}: global headers of more than {_MAX_HEADER:,} bytes; refused as a bomb"
            )

    def _damaged(self) -> tarfile.ReadError:
        return tarfile.ReadError(f"malformed pax header before byte {self._stream.tell():,}")

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, place: int) -> int:
        return self._stream.seek(place)


class TarReader:
    """An open tar file."""

    def __init__(self, stream: Any, path: Path, **options: Any) -> None:
        self._headers = _Headers(stream, path)
        self._headers.begin()  # the first header is read as the file is opened
        try:
            self._tar = tarfile.TarFile(fileobj=self._headers, **options)  # type: ignore[arg-type]
        except RecursionError:
            raise tarfile.ReadError("too many headers of one member at byte 0") from None

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """The members in order, none of them kept. Raises `InputError` for an endless header."""
        while True:
            self._tar.members.clear()
            self._headers.begin()
            try:
                member = self._tar.next()
            except RecursionError:
                raise tarfile.ReadError(f"too many headers of one member at byte {self.offset:,}") from None
            if member is None:
                if self._headers.last.strip(b"\0"):  # to tarfile, that is the end
                    raise tarfile.ReadError(f"neither a header nor the end mark at byte {self.offset:,}")
                return
            self._headers.end()
            yield member

    @property
    def offset(self) -> int:
        """Where the next header begins."""
        return self._tar.offset

    def content(self, member: tarfile.TarInfo) -> Any:
        """The content of the member that was yielded last, a plain file, as a binary stream."""
        return self._tar.extractfile(member)


@contextmanager
def open_tar(path: Path, compressed: bool = False, **options: Any) -> Iterator[TarReader]:
    """Open a tar file, `compressed` (gzip, bzip2, xz) or not; `options` are those of `tarfile.open`.

    Raises `InputError` for an endless header, and what tarfile and the decompressors raise for damage.
    """
    with path.open("rb") as raw:
        begin = raw.read(6)
        raw.seek(0)
        unpackers = [unpacker for magic, unpacker in _PACKED.items() if begin.startswith(magic)]
        if not compressed or not unpackers:
            yield TarReader(raw, path, **options)
            return
        with unpackers[0](raw) as stream:
            yield TarReader(stream, path, **options)
