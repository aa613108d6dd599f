"""JSON files."""

import json
import os
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.common.json_files import read_json, write_json


def test_file_names_that_are_not_utf8_survive_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_json(tmp_path / "a.json", {"image": name, "title": "café"})
    assert read_json(tmp_path / "a.json") == {"image": name, "title": "café"}
    assert "café" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_json_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": 1}).encode())
    assert read_json(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "Expecting property name .*"),
        (b"\x1f\x8b\x08", ".* can't decode byte 0x8b .*"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5_000, "Exceeds the limit .* digits"),
    ],
)
def test_content_that_is_not_json_is_an_error_with_the_remedy(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.json: not JSON \({reason}\); delete it and run again$"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match=rf"a\.json: not JSON \({reason}\); give another$"):
        read_json(tmp_path / "a.json", "give another")
