"""The input of `pack`: captioned images from any source, in chunks that are processed in parallel."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cloob.common.errors import InputError, io_errors_at

ByteRange = tuple[Path, int, int]  # file, offset and length in bytes


@dataclass(frozen=True)
class InputSample:
    """A captioned image, or a sample that is already rejected for the reason `rejected`."""

    uid: str
    caption: str
    image: ByteRange | None
    sha256: str | None = None  # of the image bytes, if known
    provenance: dict[str, Any] = field(default_factory=dict)
    rejected: str | None = None


class Chunk(Protocol):
    """Some thousand samples that one worker process handles; it is pickled to the worker."""

    @property
    def fingerprint(self) -> str:
        """A string that changes whenever the samples change, the paths of their files included."""

    def samples(self, scratch_file: Path) -> list[InputSample]:
        """The samples in order. A file may be created at `scratch_file`; it exists until packing is done."""


@dataclass(frozen=True)
class PackSource:
    """All chunks in order, the number of samples (None if unknown), and fields for the manifest."""

    chunks: Sequence[Chunk]
    num_samples: int | None
    provenance: dict[str, Any]


def read_byte_range(byte_range: ByteRange) -> bytes:
    """Read a byte range. Raises `InputError` if the file is missing or too short."""
    path, offset, length = byte_range
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with io_errors_at(path):
                # Impossible numbers are not passed on: pread allocates `length` bytes first.
                is_inside = 0 <= offset <= offset + length <= os.fstat(descriptor).st_size
                content = os.pread(descriptor, length, offset) if is_inside else None
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise InputError(f"{path}: {error.strerror}; download this part again") from None
    if content is None or len(content) != length:
        raise InputError(f"{path}: ends within the image at byte {offset:,}; download this part again")
    return content
