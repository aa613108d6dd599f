"""File checksums."""

import hashlib
from pathlib import Path

from cloob.common.errors import io_errors_at


def file_digest(path: str | Path, algorithm: str = "sha256") -> str:
    """The hexadecimal digest of a file's bytes; `algorithm` is a name that `hashlib.new` accepts."""
    with io_errors_at(path), Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def sha256_file(path: str | Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    return file_digest(path, "sha256")
