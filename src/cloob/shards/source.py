"""What comes in: an image's place and its caption, whatever they come from."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cloob.common.errors import InputError, io_errors_at

ByteRange = tuple[Path, int, int]  # a file, offset and length of the bytes in it


@dataclass(frozen=True)
class InputSample:
    """A captioned image that came in, or (`refused`) the reason why it goes no further."""

    uid: str
    caption: str
    place: ByteRange | None
    sha256: str | None = None  # of the bytes, where it is known
    provenance: dict[str, Any] = field(default_factory=dict)
    refused: str | None = None


class Chunk(Protocol):
    """Some thousand rows that one process takes at once; pickled to it."""

    @property
    def stamp(self) -> str:
        """Changes where the rows do."""

    def rows(self, work: Path) -> list[InputSample]:
        """The rows in their order. At the path `work` a file may be made that stays until all is packed."""


@dataclass(frozen=True)
class PackSource:
    """All that comes in: its pieces in order, the rows if they are counted, and what it is of."""

    pieces: list[Chunk]
    rows: int | None
    provenance: dict[str, Any]


def read_byte_range(place: ByteRange) -> bytes:
    """The bytes at a place. Raises `InputError` where the file is gone or ends before."""
    path, offset, length = place
    try:
        number = os.open(path, os.O_RDONLY)
        try:
            with io_errors_at(path):
                content = os.pread(number, length, offset)
        finally:
            os.close(number)
    except FileNotFoundError as error:
        raise InputError(f"{path}: {error.strerror}; fetch this part again") from None
    if len(content) != length:
        raise InputError(f"{path}: ends within the image at byte {offset:,}; fetch this part again")
    return content
