"""Text files from users: UTF-8 with any line endings; errors for other formats say how to convert them."""

import re
from pathlib import Path

from cloob.common.errors import InputError, io_errors_at

BOM = b"\xef\xbb\xbf"
SNIFF_BYTES = 1 << 16  # bytes from the start of a file that suffice to recognize its format
# First bytes of a format, and what to do with such a file.
_FORMATS = (
    (b"\x1f\x8b", "gzip-compressed; unpack it (`gunzip`)"),
    (b"BZh", "bzip2-compressed; unpack it (`bunzip2`)"),
    (b"\xfd7zXZ\x00", "xz-compressed; unpack it (`unxz`)"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed; unpack it (`unzstd`)"),
    (b"PK\x03\x04", "a zip archive (or a spreadsheet); unpack it (`unzip`), or save it as text"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it (`7z x`)"),
    (b"SQLite format 3\x00", "an SQLite database where text is expected; give another file"),
    (b"PAR1", "a Parquet file where text is expected; give another file"),
    (b"version https://git-lfs", "a git-lfs pointer, not the file; run `git lfs pull` in its repository"),
    (b"\xff\xfe\x00\x00", "UTF-32 text; convert it (`iconv -f UTF-32 -t UTF-8`)"),
    (b"\x00\x00\xfe\xff", "UTF-32 text; convert it (`iconv -f UTF-32 -t UTF-8`)"),
    (b"\xff\xfe", "UTF-16 text; convert it (`iconv -f UTF-16 -t UTF-8`)"),
    (b"\xfe\xff", "UTF-16 text; convert it (`iconv -f UTF-16 -t UTF-8`)"),
)
_HTML_PREFIXES = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def describe_non_text(start: bytes) -> str | None:
    """The format of a file by its first bytes, and the remedy; None if it may be UTF-8 text."""
    for magic, description in _FORMATS:
        if start.startswith(magic):
            return description
    if start.removeprefix(BOM).lstrip()[:20].lower().startswith(_HTML_PREFIXES):
        return "a web page, probably an error message instead of the file; download it again"
    if start[257:262] == b"ustar":
        return "a tar archive; unpack it (`tar xf`)"
    if b"\0" in start[:4] and len(start) > 3:
        for order, zero_bytes in (("LE", slice(1, 200, 2)), ("BE", slice(0, 200, 2))):
            if not any(start[zero_bytes]):
                return f"UTF-16 text; convert it (`iconv -f UTF-16{order} -t UTF-8`)"
    return None


def decode_utf8(content: bytes) -> str:
    """Decode UTF-8 without its byte order mark. Raises `UnicodeDecodeError`."""
    return content.decode("utf-8-sig")


def has_control_characters(text: str) -> bool:
    """Whether a name or a line of text has control characters (Cc), or bytes that are not UTF-8.

    Other characters that `str.isprintable` rejects are text: blanks of many languages, and joiners.
    """
    return _CONTROL_CHARACTERS.search(text) is not None


def read_text(path: Path) -> str:
    r"""Read a UTF-8 text file without its byte order mark, with all line endings as `\n`.

    Raises `InputError` if the file is not UTF-8 text, `OSError` for I/O errors.
    """
    with io_errors_at(path):
        content = path.read_bytes()
    if description := describe_non_text(content[:SNIFF_BYTES]):
        raise InputError(f"{path}: {description}")
    try:
        text = decode_utf8(content)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
