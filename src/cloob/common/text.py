"""Text files that people bring: UTF-8 whatever system wrote them, and a name for what is none."""

from pathlib import Path

from cloob.common.errors import InputError, io_errors_at

BOM = b"\xef\xbb\xbf"
SNIFF_BYTES = 1 << 16  # bytes that tell what a file is
# First bytes, what they say, and what to do.
_FORMS = (
    (b"\x1f\x8b", "gzip-compressed; unpack it (`gunzip`)"),
    (b"BZh", "bzip2-compressed; unpack it (`bunzip2`)"),
    (b"\xfd7zXZ\x00", "xz-compressed; unpack it (`unxz`)"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed; unpack it (`unzstd`)"),
    (b"PK\x03\x04", "a zip archive (or a spreadsheet); unpack it (`unzip`), or save it as text"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it (`7z x`)"),
    (b"SQLite format 3\x00", "an SQLite database where text is expected; name another file"),
    (b"PAR1", "a Parquet file where text is expected; name another file"),
    (b"version https://git-lfs", "a git-lfs pointer, not the file; run `git lfs pull` where it was cloned"),
    (b"\xff\xfe\x00\x00", "UTF-32 text; convert it (`iconv -f UTF-32 -t UTF-8`)"),
    (b"\x00\x00\xfe\xff", "UTF-32 text; convert it (`iconv -f UTF-32 -t UTF-8`)"),
    (b"\xff\xfe", "UTF-16 text; convert it (`iconv -f UTF-16 -t UTF-8`)"),
    (b"\xfe\xff", "UTF-16 text; convert it (`iconv -f UTF-16 -t UTF-8`)"),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")


def describe_non_text(begin: bytes) -> str | None:
    """What a file is instead of UTF-8 text, by its first bytes, and what to do; None where it may be text."""
    for magic, form in _FORMS:
        if begin.startswith(magic):
            return form
    if begin.removeprefix(BOM).lstrip()[:20].lower().startswith(_PAGES):
        return "damaged (a web page, perhaps an error message, not the file); get it again"
    if begin[257:262] == b"ustar":
        return "a tar archive; unpack it (`tar xf`)"
    if b"\0" in begin[:4] and len(begin) > 3:
        for order, places in (("LE", slice(1, 200, 2)), ("BE", slice(0, 200, 2))):
            if not any(begin[places]):
                return f"UTF-16 text; convert it (`iconv -f UTF-16{order} -t UTF-8`)"
    return None


def decode_utf8(content: bytes) -> str:
    """The text of a file without its byte order mark. Raises `UnicodeDecodeError`."""
    return content.decode("utf-8-sig")


def read_text(path: Path) -> str:
    r"""A text file without its byte order mark, every line's end as `\n`.

    Raises `InputError` where it is something else than UTF-8 text, and `OSError`.
    """
    with io_errors_at(path):
        content = path.read_bytes()
    if form := describe_non_text(content[:SNIFF_BYTES]):
        raise InputError(f"{path}: {form}")
    try:
        text = decode_utf8(content)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
