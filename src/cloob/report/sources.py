"""Provenance of a table or figure: `<stem>.sources.json` lists its inputs with their hashes."""

import os
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from cloob.common.hashing import sha256_file
from cloob.common.json_files import write_json
from cloob.common.provenance import current_commit


def write_sources(outputs: Iterable[Path], inputs: Sequence[Path], packages: Sequence[str]) -> None:
    """Write beside each output: its inputs (relative paths) with SHA-256, package versions and the commit."""
    for stem in sorted({path.with_suffix("") for path in outputs}):
        folder = stem.parent.resolve()
        write_json(
            stem.with_name(f"{stem.name}.sources.json"),
            {
                "inputs": [
                    {"path": _relative_text(path, folder), "sha256": sha256_file(path)}
                    for path in sorted(inputs)
                ],
                "versions": {"python": python_version()} | {name: version(name) for name in packages},
                "commit": current_commit(),
            },
        )


def _relative_text(path: Path, folder: Path) -> str:
    r"""The relative path as Unicode text; bytes that are not UTF-8 become escapes such as `\xff`."""
    return os.fsencode(os.path.relpath(path.resolve(), folder)).decode("utf-8", "backslashreplace")
