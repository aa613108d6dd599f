"""Text files: all line endings and byte order marks are handled; other formats are recognized."""

import gzip
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.common.text import describe_non_text, has_control_characters, read_text


@pytest.mark.parametrize("content", [b"a\nb\n", b"a\r\nb\r\n", b"a\rb\r", b"\xef\xbb\xbfa\r\nb\n"])
def test_line_endings_are_normalized_and_byte_order_mark_removed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text").write_bytes(content)
    assert read_text(tmp_path / "text") == "a\nb\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\n".encode("utf-16"), "UTF-16 text; convert it"),
        ("a\tb\n".encode("utf-16-be"), "iconv -f UTF-16BE -t UTF-8"),
        ("a\tb\n".encode("utf-32"), "UTF-32 text; convert it"),
        (gzip.compress(b"a", mtime=0), "gzip-compressed"),
        ("caf\u00e9".encode("latin-1"), r"not UTF-8 \(byte 3\); save it as UTF-8"),
    ],
)
def test_other_formats_raise_input_error_with_a_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(InputError, match=f"text: .*{message}"):
        read_text(tmp_path / "text")


@pytest.mark.parametrize("character", ["\0", "\t", "\n", "\x7f", "\x85", "\ud800", "\udcff"])
def test_control_characters_and_undecodable_bytes_are_recognized(character: str) -> None:
    assert has_control_characters(f"a{character}b")


@pytest.mark.parametrize("character", [" ", "\u00a0", "\u202f", "\u3000", "\u200d", "é", "🐦"])
def test_blanks_and_joiners_are_no_control_characters(character: str) -> None:
    assert not has_control_characters(f"a{character}b")


@pytest.mark.parametrize("content", [b"", b"a", b"a\tb", b"BZ", "\u00e9\u00e9".encode(), b"<3 you\thttp://x"])
def test_text_is_not_recognized_as_another_format(content: bytes) -> None:
    assert describe_non_text(content) is None
