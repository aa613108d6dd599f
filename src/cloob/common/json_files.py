"""JSON files: atomic writes, and reads whose errors name the file."""

import json
from pathlib import Path
from typing import Any

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, io_errors_at


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` atomically as indented JSON, keys in insertion order. Raises ValueError for NaN."""
    with atomic_write(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        # Bytes of a file name that are not UTF-8 are written as \udcXX, which reads back as the same name.
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def read_json(path: str | Path, remedy: str = "delete it and run again") -> Any:
    """Read a JSON file. Raises `InputError` if it is missing, `OSError` for I/O errors.

    The `InputError` of a file that is not JSON, or whose nesting or numbers exceed Python's limits, ends with
    `remedy`.
    """
    try:
        with io_errors_at(path):
            content = Path(path).read_bytes()
        return json.loads(content.decode("utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except RecursionError:
        raise InputError(f"{path}: not JSON (nested too deeply); {remedy}") from None
    except ValueError as error:
        reason = str(error).partition("; use sys.")[0]  # of a number with too many digits
        raise InputError(f"{path}: not JSON ({reason}); {remedy}") from None
