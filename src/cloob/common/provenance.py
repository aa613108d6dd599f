"""The version of the running code."""

import subprocess
from pathlib import Path


def current_commit() -> str | None:
    """The checked-out git commit; None outside a git repository or if git does not work."""
    try:
        process = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip() or None
