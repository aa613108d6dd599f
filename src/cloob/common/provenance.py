"""The commit of the code that runs."""

import subprocess
from pathlib import Path


def current_commit() -> str | None:
    """The commit that is checked out here; None outside a git repository, or without a git that answers."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
