"""What a table or figure was made from, written beside it as `<stem>.sources.json`."""

import os
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from cloob.common.hashing import sha256_file
from cloob.common.json_files import write_json
from cloob.common.provenance import current_commit


def write_sources(outputs: Iterable[Path], inputs: Sequence[Path], packages: Sequence[str]) -> None:
    """Beside each output: its inputs (relative to it) with their hashes, the versions and the commit."""
    for stem in sorted({path.with_suffix("") for path in outputs}):
        folder = stem.parent.resolve()
        write_json(
            stem.with_name(f"{stem.name}.sources.json"),
            {
                "inputs": [
                    {
                        # JSON is Unicode, a file name may be any bytes: those that are not are as in `\\xff`.
                        "path": os.fsencode(os.path.relpath(path.resolve(), folder)).decode(
                            "utf-8", "backslashreplace"
                        ),
                        "sha256": sha256_file(path),
                    }
                    for path in sorted(inputs)
                ],
                "versions": {"python": python_version()} | {each: version(each) for each in packages},
                "commit": current_commit(),
            },
        )
