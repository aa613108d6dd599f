"""Checksums of files and values."""

import hashlib
import json
from pathlib import Path
from typing import Any

from cloob.common.errors import io_errors_at


def file_digest(path: str | Path, algorithm: str = "sha256") -> str:
    """The hexadecimal digest of a file's bytes; `algorithm` is a name that `hashlib.new` accepts."""
    with io_errors_at(path), Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def sha256_file(path: str | Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    return file_digest(path, "sha256")


def json_sha256(value: Any) -> str:
    """The hexadecimal SHA-256 of a JSON-serializable value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
