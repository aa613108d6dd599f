"""Read untrusted tar files in order and in bounded memory, regardless of the sizes in their headers.

tarfile keeps every member in memory, and reads headers of any declared size (pax records, long names, sparse
maps) before the caller can inspect them: 1.5 GB of zeros compress to 1.5 MB.
"""

import bz2
import gzip
import lzma
import math
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError

_MAX_HEADER_BYTES = 1 << 20  # before the content of a member; Linux limits a path to 4 kB
_PAX_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_TYPES_WITH_BODY = (*_PAX_TYPES, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_PAX_LENGTH = re.compile(rb"(\d{1,7}) ")
_MAX_DIGITS = 1_000  # consecutive digits; tarfile's regular expressions take quadratic time
_DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


class _HeaderLimitedStream:
    """A stream that limits the bytes read between `begin_header` and `end_header`.

    The bodies of pax headers are checked before tarfile parses them: Python 3.11 takes quadratic time and
    memory for malformed ones (CVE-2024-6232), and keeps all records of global ones.
    """

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path = stream, path
        self._remaining: float = math.inf
        self._global_header_bytes = 0
        self.last_read = b""  # empty after the body of a header

    def begin_header(self) -> None:
        self._remaining = _MAX_HEADER_BYTES

    def end_header(self) -> None:
        self._remaining = math.inf

    def read(self, size: int) -> bytes:
        self._remaining -= size
        if self._remaining < 0:
            raise InputError(
                f"{self._path}: rejected as a decompression bomb: a header of more than "
                f"{_MAX_HEADER_BYTES:,} bytes at byte {self._stream.tell():,}"
            )
        content = self._stream.read(size)
        if self._remaining < math.inf:
            header_type = self.last_read[156:157]
            if header_type in _PAX_TYPES:
                self._check_pax(header_type, content)
            self.last_read = b"" if header_type in _TYPES_WITH_BODY else content
        return content

    def _check_pax(self, header_type: bytes, records: bytes) -> None:
        if max(map(len, re.findall(rb"\d+", records)), default=0) > _MAX_DIGITS:
            raise self._malformed_pax()
        offset = 0
        while length := _PAX_LENGTH.match(records, offset):
            end = offset + int(length[1])
            record = records[length.end() : end]
            if b"=" not in record or not record.endswith(b"\n"):
                raise self._malformed_pax()
            offset = end
        if records[offset:].strip(b"\0"):
            raise self._malformed_pax()
        self._global_header_bytes += len(records) if header_type == tarfile.XGLTYPE else 0
        if self._global_header_bytes > _MAX_HEADER_BYTES:
            raise InputError(
                f"{self._path}: rejected as a decompression bomb: global headers of more than "
                f"{_MAX_HEADER_BYTES:,} bytes"
            )

    def _malformed_pax(self) -> tarfile.ReadError:
        return tarfile.ReadError(f"malformed pax header before byte {self._stream.tell():,}")

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int) -> int:
        return self._stream.seek(offset)


@contextmanager
def _parse_errors_at(offset: int) -> Iterator[None]:
    """Raise `tarfile.ReadError` for the other errors of tarfile for malformed headers at an offset."""
    try:
        yield
    except RecursionError:
        raise tarfile.ReadError(f"too many headers of one member at byte {offset:,}") from None
    except (ValueError, LookupError, OverflowError) as error:
        raise tarfile.ReadError(f"malformed header at byte {offset:,}: {error}") from None


class TarReader:
    """An open tar file."""

    def __init__(self, stream: Any, path: Path, **options: Any) -> None:
        self._stream = _HeaderLimitedStream(stream, path)
        self._stream.begin_header()  # tarfile reads the first header when it opens the file
        with _parse_errors_at(0):
            self._tar = tarfile.TarFile(fileobj=self._stream, **options)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """The members in order; none of them is kept. Raises `InputError` for an oversized header."""
        while True:
            self._tar.members.clear()  # type: ignore[attr-defined]  # not in typeshed
            self._stream.begin_header()
            with _parse_errors_at(self.offset):
                member = self._tar.next()
            if member is None:
                if self._stream.last_read.strip(b"\0"):  # which tarfile treats as the end of the archive
                    raise tarfile.ReadError(
                        f"neither a header nor the end-of-archive marker at byte {self.offset:,}"
                    )
                return
            if member.size < 0:  # tarfile 3.11 would go back in the file
                raise tarfile.ReadError(f"a member of {member.size:,} bytes before byte {self.offset:,}")
            self._stream.end_header()
            yield member

    @property
    def offset(self) -> int:
        """The offset of the next header, in bytes."""
        return self._tar.offset

    def content(self, member: tarfile.TarInfo) -> Any:
        """The content, as a binary stream, of the most recently yielded member, a regular file."""
        return self._tar.extractfile(member)


@contextmanager
def open_tar(path: Path, compressed: bool = False, **options: Any) -> Iterator[TarReader]:
    """Open a tar file; with `compressed`, also a gzip, bzip2 or xz file. `options` are those of `TarFile`.

    Raises `InputError` for an oversized header and `tarfile.ReadError` for any other malformed one; the
    decompressors raise their own errors.
    """
    with path.open("rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        openers = [opener for prefix, opener in _DECOMPRESSORS.items() if magic.startswith(prefix)]
        if not compressed or not openers:
            yield TarReader(raw, path, **options)
            return
        with openers[0](raw) as stream:
            yield TarReader(stream, path, **options)
