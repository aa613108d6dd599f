"""JSON files."""

import json
import os
from pathlib import Path

from cloob.common.json_files import read_json, write_json


def test_file_names_that_are_not_utf8_survive_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_json(tmp_path / "a.json", {"image": name, "title": "café"})
    assert read_json(tmp_path / "a.json") == {"image": name, "title": "café"}
    assert "café" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_json_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": 1}).encode())
    assert read_json(tmp_path / "a.json") == {"a": 1}
