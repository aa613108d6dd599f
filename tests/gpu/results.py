"""The measurements of `make gpu`, collected in one JSON file by processes that run after one another."""

import json
import os
from pathlib import Path
from typing import Any

from cloob.common.atomic_files import atomic_write
from cloob.common.locks import file_lock
from tests.helpers.repository import ROOT


def report_path() -> Path:
    """The file named by CLOOB_GPU_REPORT; by default results/gpu.json of this checkout."""
    return ROOT / os.environ.get("CLOOB_GPU_REPORT", "results/gpu.json")


def record(section: str, *entries: dict[str, Any]) -> None:
    """Append entries (rows of a table) to a section of the report, and print them."""
    path = report_path()
    with file_lock(path):
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        content.setdefault(section, []).extend(entries)
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for entry in entries:
        print(f"{section}: {entry}", flush=True)
