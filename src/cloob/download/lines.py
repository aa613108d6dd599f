"""Long files of lines, plain or bzip2, read once with a progress bar."""

import bz2
import io
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from cloob.errors import InputError

_BUFFER = 1 << 20
_LINES_PER_UPDATE = 20_000


def lines(path: Path, what: str | None = None) -> Iterator[bytes]:
    """The lines of a file without their ends; `.bz2` is decompressed on the way.

    `what` names the progress bar, which counts the bytes of the file on disk; without it there is
    none. Raises `InputError` where the file is missing or damaged.
    """
    try:
        with (
            path.open("rb") as raw,
            tqdm(
                total=path.stat().st_size,
                unit="B",
                unit_scale=True,
                desc=what,
                disable=what is None,
                mininterval=1,
            ) as bar,
        ):
            plain = bz2.BZ2File(raw) if path.suffix == ".bz2" else raw
            buffered = io.BufferedReader(plain, _BUFFER)  # type: ignore[arg-type]
            for number, line in enumerate(buffered):
                if number % _LINES_PER_UPDATE == 0:
                    bar.update(raw.tell() - bar.n)
                yield line.rstrip(b"\r\n")
            bar.update(raw.tell() - bar.n)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; put the list there or name another") from None
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: damaged ({error}); get it again") from None
