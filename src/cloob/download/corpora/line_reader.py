"""Stream long text files line by line: plain or bzip2, any line ending, whole or in parts."""

import os
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cloob.common.errors import InputError, raise_if_io_error
from cloob.common.text import BOM, SNIFF_BYTES, describe_non_text

_BLOCK = 1 << 20
_MAX_LINE = 1 << 26
_BZIP2 = b"BZh"


def read_lines(*paths: Path, description: str | None = None) -> Generator[bytes, None, None]:
    """The lines of a file, or of its parts, without line endings; see `read_blocks`."""
    for block in read_blocks(*paths, description=description):
        yield from (line.rstrip(b"\r") for line in bytes(block[:-1]).split(b"\n"))


def read_blocks(
    *paths: Path, description: str | None = None, is_complete: Callable[[bytes], bool] = lambda line: True
) -> Iterator[memoryview]:
    r"""Stream a file, or a file that was split into parts, in blocks of complete lines that end with `\n`.

    Blocks have about 1 MB, more if a line is longer; the next block overwrites the memory of the last. bzip2
    is decompressed on the fly on all cores; a byte order mark is skipped. `description` labels the progress
    bar, which counts bytes on disk; None shows no bar. `is_complete` decides about the last line of a part
    without a line ending: True if it is a line of its own, False if the next part continues it. Raises
    `InputError` if a file is missing, empty, damaged or not text, or has a line of more than 64 MB.
    """
    # One buffer for all blocks: the kernel would have to clear every new one.
    buffer, filled = bytearray(_BLOCK), 0
    try:
        total = sum(path.stat().st_size for path in paths)
        if not total:
            raise InputError(f"{paths[0]}: empty; download it again, or give another file")
        with tqdm(
            total=total,
            unit="B",
            unit_scale=True,
            desc=description,
            disable=description is None,
            mininterval=1,
        ) as progress:
            for path in paths:
                before = progress.n
                with _open_text(path) as (stream, bytes_consumed):
                    while read := stream.readinto(memoryview(buffer)[filled:]):
                        progress.update(before + bytes_consumed() - progress.n)
                        filled += read
                        end = buffer.rfind(b"\n", filled - read, filled) + 1
                        if end:
                            yield memoryview(buffer)[:end]
                            buffer[: filled - end] = buffer[end:filled]
                            filled -= end
                        elif filled > _MAX_LINE:
                            raise InputError(f"{path}: a line of more than {_MAX_LINE:,} bytes; is it text?")
                        elif filled == len(buffer):
                            buffer = buffer + bytearray(filled)
                if filled and (path is paths[-1] or is_complete(bytes(buffer[:filled]))):
                    buffer[filled : filled + 1] = b"\n"
                    yield memoryview(buffer)[: filled + 1]
                    filled = 0
                progress.update(before + path.stat().st_size - progress.n)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file; copy it there, or give another path") from None


@contextmanager
def _open_text(path: Path) -> Iterator[tuple[Any, Callable[[], int]]]:
    """The decompressed stream of a file, and a function for the number of bytes on disk consumed so far."""
    try:
        with path.open("rb", buffering=0) as raw:
            sample = raw.read(SNIFF_BYTES)
            raw.seek(0)
            if not sample.startswith(_BZIP2):
                if path.suffix == ".bz2" and not describe_non_text(sample):
                    raise OSError("not a bzip2 file")
                yield _TextStream(raw, path), raw.tell
                return
            cores = len(os.sched_getaffinity(0))  # the cores of this job, not of the machine
            if shutil.which("lbzip2"):
                with _lbzip2(raw, cores) as stream:
                    # The child process shares the file offset with this one.
                    yield _TextStream(stream, path), lambda: os.lseek(raw.fileno(), 0, os.SEEK_CUR)
            else:
                import indexed_bzip2

                with indexed_bzip2.open(str(path), parallelization=cores) as stream:
                    yield _TextStream(stream, path), lambda: stream.tell_compressed() // 8
    except FileNotFoundError:
        raise
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise_if_io_error(error, path)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged ({reason}); download it again") from None


class _TextStream:
    """Text without its byte order mark; without line feeds, carriage returns count as line endings."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path = stream, path
        self._started = self._carriage_returns = False

    def readinto(self, buffer: memoryview) -> int:
        """Like `io.RawIOBase.readinto`. Raises `InputError` if the first bytes are not text."""
        read = self._stream.readinto(buffer) if self._started else self._read_first(buffer)
        if self._carriage_returns:
            buffer[:read] = bytes(buffer[:read]).replace(b"\r", b"\n")
        return read

    def _read_first(self, buffer: memoryview) -> int:
        self._started, filled = True, 0
        while filled < min(SNIFF_BYTES, len(buffer)) and (read := self._stream.readinto(buffer[filled:])):
            filled += read
        content = bytes(buffer[:filled])
        if form := describe_non_text(content[:SNIFF_BYTES]):
            raise InputError(f"{self._path}: {form}")
        # A carriage return at the end may belong to a line feed in the next part.
        self._carriage_returns = b"\r" in content.rstrip(b"\r") and b"\n" not in content
        text = content.removeprefix(BOM)
        buffer[: len(text)] = text
        return len(text)


@contextmanager
def _lbzip2(raw: Any, cores: int) -> Iterator[Any]:
    """Decompress in a child process, which is killed if the reader stops early."""
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
                raise OSError(reason or f"lbzip2 exited with status {process.returncode}")
        finally:
            process.kill()
