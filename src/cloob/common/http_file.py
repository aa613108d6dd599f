"""Download one large file: resumable, limited in size, and verified before it gets its final name.

pooch, the usual library for this, cannot resume an interrupted download.
"""

import errno
import fcntl
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
from typing import IO, Any
from urllib.parse import urlsplit

from tqdm import tqdm

from cloob.common.atomic_files import open_no_follow
from cloob.common.bounded_http import Budget, TooLargeError, bounded_opener
from cloob.common.errors import InputError, io_errors_at
from cloob.common.hashing import file_digest

ALGORITHMS = ("sha256", "md5")
_BLOCK_BYTES = 1 << 20
_MAX_FAILURES = 6  # in a row without `_MIN_PROGRESS_BYTES`; 1 + 2 + 4 + 8 + 16 seconds between them
_MIN_PROGRESS_BYTES = 1 << 16
_MIN_BYTES_PER_SECOND = 1_000  # on average over a response
_LENGTH = re.compile("[0-9]{1,18}")
_STATUS_WITH_CONTENT = (200, 203)
_TRANSIENT_STATUS = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class RemoteFile:
    """The URL of a file, its maximum size and its checksum.

    `checksum` is `sha256:HEX` or `md5:HEX`, None if unknown; no more than `max_bytes` are written to disk.
    """

    url: str
    max_bytes: int
    checksum: str | None = None

    def __post_init__(self) -> None:
        """Raise `InputError` for a URL that is not http(s), or an invalid checksum."""
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise InputError(f"{self.url}: not an http or https URL")
        algorithm, _, digits = (self.checksum or f"sha256:{'0' * 64}").partition(":")
        if algorithm not in ALGORITHMS or len(digits) != 2 * hashlib.new(algorithm).digest_size:
            raise InputError(f"{self.url}: checksum {self.checksum!r} is not sha256:<64> or md5:<32 digits>")


class MissingFileError(InputError):
    """The server reports that it has no such file."""


class OversizedFileError(InputError):
    """The file has more than `max_bytes`."""


def download_file(
    remote: RemoteFile, path: Path, timeout: float = 60, pause: float = 1, print_checksum: bool = True
) -> None:
    """Download a file to `path`, resuming from the partial file `.<name>.part` of an earlier attempt.

    A partial file is only continued if the server confirms that the file is unchanged (If-Range), or a
    checksum will reveal a change. `timeout` (seconds) limits a silent connection and all headers together;
    `pause` (seconds) is the wait after a first failure. Without a known checksum, that of the file is printed
    if `print_checksum`. Raises `InputError` if the server rejects the request (`MissingFileError` for 404 and
    410), is silent or too slow, or the file is too large (`OversizedFileError`) or has another checksum;
    `OSError` if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _PartialFile(path)
    failures, max_size = 0, partial.size
    while True:
        try:
            _download_rest(remote, partial, timeout)
            break
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in _TRANSIENT_STATUS:
                kind = MissingFileError if error.code in (404, 410) else InputError
                raise kind(f"{remote.url}: the server responded {error.code} {error.reason}") from None
            reason: object = f"{error.code} {error.reason}"
        except TooLargeError as error:
            raise _too_large(remote, partial, str(error)) from None
        except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
            if getattr(error, "filename", None) is not None:  # of the local disk
                raise
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TooLargeError):
                raise _too_large(remote, partial, str(reason)) from None
        failures = 1 if partial.size >= max_size + _MIN_PROGRESS_BYTES else failures + 1
        max_size = max(max_size, partial.size)
        if failures == _MAX_FAILURES:
            raise InputError(
                f"{remote.url}: {_MAX_FAILURES} attempts failed ({reason}); {partial.size:,} bytes are "
                "saved, run again to resume"
            )
        time.sleep(pause * 2 ** (failures - 1))
    _verify(remote, partial, print_checksum)
    partial.finish(path)


class _PartialFile:
    """The unfinished file, and the version that the server reports for it (ETag or Last-Modified)."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f".{path.name}.part")
        self._version_file = path.with_name(f".{path.name}.version")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        return self._version_file.read_text(encoding="utf-8") if self._version_file.exists() else ""

    def lock(self, file: IO[bytes]) -> None:
        """Lock the opened file until it is closed. Raises `InputError` if another process is writing it."""
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise InputError(f"{self.path}: in use by another process; wait for it or stop it") from None
        if not self.path.exists() or not os.path.samestat(self.path.stat(), os.fstat(file.fileno())):
            raise ConnectionError("another process has finished or restarted the download")

    def restart(self, version: str) -> None:
        self.delete()  # first, so that a planted symbolic link is not followed
        with io_errors_at(self.path):
            self.path.touch(exist_ok=False)
            with self._version_file.open("x", encoding="utf-8") as file:
                file.write(version)

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
        self._version_file.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        with io_errors_at(path), self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(path)
        self._version_file.unlink(missing_ok=True)


def _download_rest(remote: RemoteFile, partial: _PartialFile, timeout: float) -> None:
    """Request the missing bytes once; raises urllib's errors, and `ConnectionError` for a short response."""
    request = urllib.request.Request(remote.url, headers={"Accept-Encoding": "identity"})
    if partial.size and (partial.version or remote.checksum):
        request.add_header("Range", f"bytes={partial.size}-")
        if partial.version:
            request.add_header("If-Range", partial.version)
    try:
        response = bounded_opener(
            lambda: Budget(
                remote.max_bytes,
                timeout,
                max_body_bytes=_BLOCK_BYTES,
                min_bytes_per_second=_MIN_BYTES_PER_SECOND,
            )
        ).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not partial.size:
            raise
        error.close()
        # Range not satisfiable: the partial file is complete, or longer than the file is now.
        if error.headers.get("Content-Range", "").endswith(f"/{partial.size}"):
            return
        partial.delete()
        raise ConnectionError("the partial file is longer than the file") from None
    with response:
        expected_size = _expected_size(response, partial)
        _check_size(remote, partial, expected_size)
        if response.status != 206:
            partial.restart(_version_of(response))
        with (
            open(partial.path, "ab", opener=open_no_follow) as file,
            tqdm(
                total=expected_size,
                initial=partial.size,
                unit="B",
                unit_scale=True,
                desc=partial.path.name[1:-5],
            ) as bar,
        ):
            partial.lock(file)
            while block := response.read(_BLOCK_BYTES):
                _check_size(remote, partial, file.tell() + len(block))
                with io_errors_at(partial.path):
                    file.write(block)
                    file.flush()
                bar.update(len(block))
        if response.length:
            raise ConnectionError(f"the response ended {response.length:,} bytes too early")
    if expected_size is not None and partial.size != expected_size:
        raise ConnectionError(f"received {partial.size:,} of {expected_size:,} bytes")


def _expected_size(response: Any, partial: _PartialFile) -> int | None:
    """The size of the complete file; None if the server does not announce it."""
    if response.status == 206:
        start, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if start.partition("-")[0] != str(partial.size):
            partial.delete()
            raise ConnectionError("the server did not send the requested range")
        return int(total) if _LENGTH.fullmatch(total) else None
    if response.status not in _STATUS_WITH_CONTENT:
        raise InputError(
            f"{response.url}: the server responded {response.status} {response.reason}, without content"
        )
    return response.length  # None for a chunked response, regardless of its headers


def _version_of(response: Any) -> str:
    """A strong ETag, or Last-Modified; weak ETags do not guarantee equal bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _too_large(remote: RemoteFile, partial: _PartialFile, detail: str) -> OversizedFileError:
    partial.delete()
    return OversizedFileError(
        f"{remote.url}: more than the allowed {remote.max_bytes:,} bytes ({detail}); if the file is right, "
        "raise max_bytes"
    )


def _check_size(remote: RemoteFile, partial: _PartialFile, size: int | None) -> None:
    """Raise `InputError` if `size`, received or announced, exceeds the limit or the free disk space."""
    if size is not None and size > remote.max_bytes:
        raise _too_large(remote, partial, f"{size:,} received or announced")
    free = shutil.disk_usage(partial.path.parent).free
    if size is not None and size - partial.size > free:
        raise InputError(
            f"{partial.path.parent}: {free:,} bytes are free, but {size - partial.size:,} are needed; free "
            f"space or use another disk, then run again: {partial.size:,} bytes are saved"
        )


def checksum_mismatch(remote: RemoteFile, path: Path) -> str | None:
    """A description of how the checksum differs; None if it matches, or none is known."""
    algorithm, _, expected = (remote.checksum or "").partition(":")
    if not expected or (actual := file_digest(path, algorithm)) == expected.lower():
        return None
    return f"its {algorithm} is {actual}, expected {expected}"


def _verify(remote: RemoteFile, partial: _PartialFile, print_checksum: bool) -> None:
    if not remote.checksum:
        if print_checksum:
            digest = f"sha256:{file_digest(partial.path)}"
            print(f"{remote.url}: not verified, no checksum is known; it has {digest}", file=sys.stderr)
    elif mismatch := checksum_mismatch(remote, partial.path):
        partial.delete()
        raise InputError(
            f"{remote.url}: {mismatch}; deleted: download it again, or correct the checksum if the file was "
            "replaced permanently"
        )
