"""Input samples from the parts of a captioned image: its bytes, a caption in .txt or .json, its metadata."""

import json
import os
from pathlib import PurePosixPath
from typing import Any

from cloob.common.accounting import RejectedError
from cloob.common.text import has_control_characters
from cloob.shards.source import ByteRange, InputSample, read_byte_range

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm")
_NESTING_MARGIN = 100


def read_caption(txt: ByteRange | None, json_file: ByteRange | None) -> tuple[str | None, dict[str, Any]]:
    """The caption, of .txt or else the key `caption` of .json (None without either), and the JSON object.

    Raises `RejectedError` with the outcome: `not_utf8` or `bad_json`.
    """
    metadata = _read_json(json_file)
    caption = _read_text(txt) if txt is not None else metadata.get("caption")
    return (caption if isinstance(caption, str) else None), metadata


def input_sample(
    uid: str, image: ByteRange, caption: str, provenance: dict[str, Any], metadata: dict[str, Any]
) -> InputSample:
    """A sample whose provenance has the `url` of the metadata, and the metadata itself as `json`.

    Raises `RejectedError` with the outcome if they cannot be written as JSON: `not_utf8` or `bad_json`.
    """
    provenance = {"url": metadata.get("url"), **provenance}
    if metadata:
        provenance["json"] = metadata
    try:
        json.dumps([caption, provenance], ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # an unpaired surrogate, written as \ud800 in the JSON
        raise RejectedError("not_utf8") from None
    except ValueError:  # a number that overflows a float
        raise RejectedError("bad_json") from None
    return InputSample(uid, caption, image, None, provenance)


def _read_json(byte_range: ByteRange | None) -> dict[str, Any]:
    if byte_range is None:
        return {}
    try:
        # Parsed inside extra brackets: JSON nested close to Python's recursion limit would be readable here
        # but no longer when it is embedded in the sample's own JSON.
        text = "[" * _NESTING_MARGIN + _read_text(byte_range) + "]" * _NESTING_MARGIN
        content = json.loads(text, parse_constant=lambda _: None)  # NaN is invalid JSON, but common
        for _ in range(_NESTING_MARGIN):
            (content,) = content
    except (ValueError, RecursionError):
        raise RejectedError("bad_json") from None
    return content if isinstance(content, dict) else {}


def _read_text(byte_range: ByteRange) -> str:
    try:
        return read_byte_range(byte_range).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RejectedError("not_utf8") from None


def is_safe(key: str) -> bool:
    """Whether a name has no control characters and does not leave its folder."""
    path = PurePosixPath(key)
    is_inside = not path.is_absolute() and ".." not in path.parts
    return is_inside and "\\" not in key and not has_control_characters(key)


def as_utf8(file_name: str) -> str:
    """A file name for JSON, with bytes that are not UTF-8 replaced."""
    return os.fsencode(file_name).decode("utf-8", "replace")
