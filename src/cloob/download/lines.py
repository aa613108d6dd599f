"""Long files of lines, plain or bzip2, read once with a progress bar."""

import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import indexed_bzip2
from tqdm import tqdm

from cloob.errors import InputError

_BUFFER = 1 << 20
_LINES_PER_UPDATE = 20_000
_BZIP2 = b"BZh"


def lines(path: Path, *more: Path, what: str | None = None) -> Iterator[bytes]:
    """The lines of a file, or of one that was split in parts, without their ends.

    `.bz2` is decompressed on the way, by all cores. `what` names the progress bar, which counts the bytes on
    disk; without it there is none. Raises `InputError` where a file is missing or damaged.
    """
    paths = [path, *more]
    try:
        total = sum(one.stat().st_size for one in paths)
        with tqdm(
            total=total, unit="B", unit_scale=True, desc=what, disable=what is None, mininterval=1
        ) as bar:
            for one in paths:
                before = bar.n
                with _opened(one) as (stream, place):
                    buffered = io.BufferedReader(stream, _BUFFER)  # type: ignore[arg-type]
                    while True:
                        yield from (line.rstrip(b"\r\n") for line in islice(buffered, _LINES_PER_UPDATE))
                        bar.update(before + place() - bar.n)
                        if not buffered.peek(1):
                            break
                bar.update(before + one.stat().st_size - bar.n)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file; put the list there or name another") from None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
    """The plain bytes of a file, and how many of its bytes on disk were read for them."""
    try:
        with path.open("rb", buffering=0) as raw:
            if path.suffix != ".bz2":
                yield raw, raw.tell
                return
            if raw.read(len(_BZIP2)) != _BZIP2:
                raise OSError("no bzip2 file")
            raw.seek(0)
            if shutil.which("lbzip2"):
                with _unpacked_by_lbzip2(raw) as stream:
                    # The other process moves the place that it shares with us.
                    yield stream, lambda: os.lseek(raw.fileno(), 0, os.SEEK_CUR)
            else:
                with indexed_bzip2.open(str(path), parallelization=os.cpu_count() or 1) as stream:
                    yield stream, lambda: stream.tell_compressed() // 8
    except FileNotFoundError:
        raise
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged ({reason}); get it again") from None


@contextmanager
def _unpacked_by_lbzip2(raw: BinaryIO) -> Iterator[BinaryIO]:
    with subprocess.Popen(
        ["lbzip2", "--decompress", "--stdout"], stdin=raw, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            yield process.stdout  # type: ignore[misc]
            reason = process.stderr.read().decode(errors="replace").strip()
            if process.wait():
                raise OSError(reason or f"lbzip2 ended with {process.returncode}")
        finally:
            process.kill()
