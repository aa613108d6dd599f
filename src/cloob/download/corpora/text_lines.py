"""Long files of lines, plain or bzip2, whatever ends the lines, read once with a progress bar."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import indexed_bzip2
from tqdm import tqdm

from cloob.common.errors import InputError, raise_if_io_error
from cloob.common.text import BOM, SNIFF_BYTES, describe_non_text

_BLOCK = 1 << 20
_LONGEST = 1 << 26
_BZIP2 = b"BZh"


def lines(*paths: Path, what: str | None = None) -> Iterator[bytes]:
    """The lines of a file, or of its parts, without their ends; see `blocks`."""
    for block in blocks(*paths, what=what):
        yield from (line.rstrip(b"\r") for line in bytes(block[:-1]).split(b"\n"))


def blocks(
    *paths: Path, what: str | None = None, whole: Callable[[bytes], bool] = lambda line: True
) -> Iterator[memoryview]:
    r"""A file, or one that was split in parts, in blocks: whole lines, each ended by `\n`.

    A block is overwritten by the next. About 1 MB each, more where a line is longer.
    bzip2 is decompressed on the way, by all cores; a byte order mark is skipped. `what` names the progress
    bar, which counts the bytes on disk; without it there is none. `whole` tells of a part's last line, where
    that has no end, whether it goes on in the next part. Raises `InputError` where a file is missing, empty,
    damaged or no text, or has a line that nothing ends.
    """
    # One buffer for all: the kernel would have to clear every new one.
    buffer, filled = bytearray(_BLOCK), 0
    try:
        total = sum(path.stat().st_size for path in paths)
        if not total:
            raise InputError(f"{paths[0]}: empty; get it again, or name another")
        with tqdm(
            total=total, unit="B", unit_scale=True, desc=what, disable=what is None, mininterval=1
        ) as bar:
            for path in paths:
                before = bar.n
                with _opened(path) as (stream, place):
                    while read := stream.readinto(memoryview(buffer)[filled:]):
                        bar.update(before + place() - bar.n)
                        filled += read
                        end = buffer.rfind(b"\n", filled - read, filled) + 1
                        if end:
                            yield memoryview(buffer)[:end]
                            buffer[: filled - end] = buffer[end:filled]
                            filled -= end
                        elif filled > _LONGEST:
                            raise InputError(f"{path}: a line of more than {_LONGEST:,} bytes; is it text?")
                        elif filled == len(buffer):
                            buffer = buffer + bytearray(filled)
                if filled and (path is paths[-1] or whole(bytes(buffer[:filled]))):
                    buffer[filled : filled + 1] = b"\n"
                    yield memoryview(buffer)[: filled + 1]
                    filled = 0
                bar.update(before + path.stat().st_size - bar.n)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file; put the list there or name another") from None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Callable[[], int]]]:
    """The plain bytes of a file, and how many of its bytes on disk were read for them."""
    try:
        with path.open("rb", buffering=0) as raw:
            begin = raw.read(SNIFF_BYTES)
            raw.seek(0)
            if not begin.startswith(_BZIP2):
                if path.suffix == ".bz2" and not describe_non_text(begin):
                    raise OSError("no bzip2 file")
                yield _Text(raw, path), raw.tell
                return
            cores = len(os.sched_getaffinity(0))  # those that we were given, not all that the node has
            if shutil.which("lbzip2"):
                with _unpacked_by_lbzip2(raw, cores) as stream:
                    # The other process moves the place that it shares with us.
                    yield _Text(stream, path), lambda: os.lseek(raw.fileno(), 0, os.SEEK_CUR)
            else:
                with indexed_bzip2.open(str(path), parallelization=cores) as stream:
                    yield _Text(stream, path), lambda: stream.tell_compressed() // 8
    except FileNotFoundError:
        raise
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise_if_io_error(error, path)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged ({reason}); get it again") from None


class _Text:
    """A stream of text without its byte order mark; of no line feeds, with these for carriage returns."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path = stream, path
        self._begun = self._carriage_returns = False

    def readinto(self, buffer: memoryview) -> int:
        """As a raw stream does. Raises `InputError` where the first bytes are no text."""
        read = self._stream.readinto(buffer) if self._begun else self._begin(buffer)
        if self._carriage_returns:
            buffer[:read] = bytes(buffer[:read]).replace(b"\r", b"\n")
        return read

    def _begin(self, buffer: memoryview) -> int:
        self._begun, filled = True, 0
        while filled < min(SNIFF_BYTES, len(buffer)) and (read := self._stream.readinto(buffer[filled:])):
            filled += read
        begin = bytes(buffer[:filled])
        if form := describe_non_text(begin[:SNIFF_BYTES]):
            raise InputError(f"{self._path}: {form}")
        # One at the end may belong to a line feed in the next part.
        self._carriage_returns = b"\r" in begin.rstrip(b"\r") and b"\n" not in begin
        text = begin.removeprefix(BOM)
        buffer[: len(text)] = text
        return len(text)


@contextmanager
def _unpacked_by_lbzip2(raw: Any, cores: int) -> Iterator[Any]:
    with subprocess.Popen(
        ["lbzip2", "--decompress", "--stdout", "-n", str(cores)],
        stdin=raw,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            yield process.stdout
            reason = process.stderr.read().decode(errors="replace").strip()
            if process.wait():
                raise OSError(reason or f"lbzip2 ended with {process.returncode}")
        finally:
            process.kill()
