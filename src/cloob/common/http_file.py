"""One large file from the web: resumed where it broke off, capped in size, verified before it has a name."""

import hashlib
import http.client
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from cloob.common.atomic_files import open_no_follow
from cloob.common.bounded_http import Budget, TooLargeError, bounded_opener
from cloob.common.errors import InputError, io_errors_at

ALGORITHMS = ("sha256", "md5")
_BLOCK = 1 << 20
_TRIES = 6  # in a row without `_PROGRESS`; 1 + 2 + 4 + 8 + 16 seconds between them
_PROGRESS = 1 << 16  # new bytes
_SLOWEST = 1_000  # bytes per second, over all of an answer
_LENGTH = re.compile("[0-9]{1,18}")
_WITH_CONTENT = (200, 203)
_PASSING = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class RemoteFile:
    """Where a file lies and what it must be.

    `checksum` is `sha256:HEX` or `md5:HEX`, None where unknown; `max_bytes` is never exceeded on disk.
    """

    url: str
    max_bytes: int
    checksum: str | None = None

    def __post_init__(self) -> None:
        """Raise `InputError` for an address that is not http(s), or a checksum of no known form."""
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise InputError(f"{self.url}: not an address of http or https")
        algorithm, _, digits = (self.checksum or f"sha256:{'0' * 64}").partition(":")
        if algorithm not in ALGORITHMS or len(digits) != 2 * hashlib.new(algorithm).digest_size:
            raise InputError(f"{self.url}: checksum {self.checksum!r} is not sha256:<64> or md5:<32 digits>")


def download_file(source: RemoteFile, path: Path, timeout: float = 60, pause: float = 1) -> None:
    """Fetch a file to `path`, going on with what an earlier try left in `.<name>.part` beside it.

    The part is gone on with only if the server says that the file is still the same (If-Range), or a
    checksum will tell. `timeout` is that of a silent connection and of all headers, `pause` the wait after a
    first failure, in seconds. Raises `InputError` where the server refuses, is silent or too slow, or the
    file is too large or another; `OSError` where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(path)
    failures, furthest = 0, part.size
    while True:
        try:
            _fetch_rest(source, part, timeout)
            break
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in _PASSING:
                raise InputError(f"{source.url}: the server answers {error.code} {error.reason}") from None
            reason: object = f"{error.code} {error.reason}"
        except TooLargeError as error:
            raise _too_large(source, part, str(error)) from None
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
            if getattr(error, "filename", None) is not None:  # of our disk, not of the network
                raise
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TooLargeError):
                raise _too_large(source, part, str(reason)) from None
        failures = 1 if part.size >= furthest + _PROGRESS else failures + 1
        furthest = max(furthest, part.size)
        if failures == _TRIES:
            raise InputError(
                f"{source.url}: {_TRIES} tries failed ({reason}); "
                f"{part.size:,} bytes are kept, run again to go on"
            )
        time.sleep(pause * 2 ** (failures - 1))
    _verify(source, part)
    part.finish(path)


class _Part:
    """The unfinished file, and what the server calls its version (an ETag, or the date of its change)."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f".{path.name}.part")
        self._version = path.with_name(f".{path.name}.version")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        return self._version.read_text(encoding="utf-8") if self._version.exists() else ""

    def start_anew(self, version: str) -> None:
        self.drop()  # first, because a symbolic link of this name would have us overwrite its target
        with io_errors_at(self.path):
            self.path.touch(exist_ok=False)
            with self._version.open("x", encoding="utf-8") as file:
                file.write(version)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        with io_errors_at(path), self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(path)
        self._version.unlink(missing_ok=True)


def _fetch_rest(source: RemoteFile, part: _Part, timeout: float) -> None:
    """One request for what is missing; raises what urllib raises, `ConnectionError` for a short answer."""
    request = urllib.request.Request(source.url, headers={"Accept-Encoding": "identity"})
    if part.size and (part.version or source.checksum):
        request.add_header("Range", f"bytes={part.size}-")
        if part.version:
            request.add_header("If-Range", part.version)
    try:
        answer = bounded_opener(
            lambda: Budget(source.max_bytes, timeout, at_once=_BLOCK, slowest=_SLOWEST)
        ).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not part.size:
            raise
        error.close()
        # Nothing is left from here on: the part is whole, or longer than the file is now.
        if error.headers.get("Content-Range", "").endswith(f"/{part.size}"):
            return
        part.drop()
        raise ConnectionError("the file has another length than the part") from None
    with answer:
        announced = _announced(answer, part)
        _refuse_size(source, part, announced)
        if answer.status != 206:
            part.start_anew(_version_of(answer))
        with (
            open(part.path, "ab", opener=open_no_follow) as file,
            tqdm(
                total=announced, initial=part.size, unit="B", unit_scale=True, desc=part.path.name[1:-5]
            ) as bar,
        ):
            while block := answer.read(_BLOCK):
                _refuse_size(source, part, file.tell() + len(block))
                with io_errors_at(part.path):
                    file.write(block)
                    file.flush()
                bar.update(len(block))
        if answer.length:
            raise ConnectionError(f"the answer ended {answer.length:,} bytes too early")
    if announced is not None and part.size != announced:
        raise ConnectionError(f"the file has {part.size:,} bytes where {announced:,} were announced")


def _announced(answer: Any, part: _Part) -> int | None:
    """The size that the file will have, None where the server does not say."""
    if answer.status == 206:
        start, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if start.partition("-")[0] != str(part.size):
            part.drop()
            raise ConnectionError("the server answers with another range than was asked for")
        return int(total) if _LENGTH.fullmatch(total) else None
    if answer.status not in _WITH_CONTENT:
        raise InputError(f"{answer.url}: the server answers {answer.status} {answer.reason}, without a file")
    return answer.length  # None for a chunked answer, whatever its headers say


def _version_of(answer: Any) -> str:
    """A strong ETag, or the date of the last change; weak ETags do not promise equal bytes."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")


def _too_large(source: RemoteFile, part: _Part, found: str) -> InputError:
    part.drop()
    return InputError(
        f"{source.url}: more than the {source.max_bytes:,} bytes that are allowed ({found}); raise "
        "max_bytes if it is right"
    )


def _refuse_size(source: RemoteFile, part: _Part, size: int | None) -> None:
    if size is not None and size > source.max_bytes:
        raise _too_large(source, part, f"{size:,} so far or announced")
    free = shutil.disk_usage(part.path.parent).free
    if size is not None and size - part.size > free:
        raise InputError(
            f"{part.path.parent}: {free:,} bytes are free where {size - part.size:,} are missing; free space "
            f"there or use another disk, then run again: {part.size:,} bytes are kept"
        )


def checksum_mismatch(source: RemoteFile, path: Path) -> str | None:
    """How a file differs from its source's checksum, in words; None where it does not, or none is known."""
    algorithm, _, wanted = (source.checksum or "").partition(":")
    if not wanted or (found := _digest(path, algorithm)) == wanted.lower():
        return None
    return f"its {algorithm} is {found} where {wanted} is wanted"


def _digest(path: Path, algorithm: str) -> str:
    with io_errors_at(path), path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _verify(source: RemoteFile, part: _Part) -> None:
    if not source.checksum:
        found = _digest(part.path, "sha256")
        print(f"{source.url}: no checksum is known to verify it by; found sha256:{found}", file=sys.stderr)
    elif differs := checksum_mismatch(source, part.path):
        part.drop()
        raise InputError(
            f"{source.url}: {differs}; it is deleted: fetch it again, or correct the checksum if the "
            "file was replaced for good"
        )
