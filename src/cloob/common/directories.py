"""List directories without hiding read errors, and delete directory trees of any depth."""

import os
import stat
from fnmatch import fnmatchcase
from pathlib import Path
from uuid import uuid4


def sorted_glob(folder: Path, pattern: str) -> list[Path]:
    """The entries of a directory whose names match, sorted by name; empty if the directory does not exist.

    Unlike `Path.glob`, which silently returns nothing, an unreadable directory raises `OSError`.
    """
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return []
    return sorted(path for path in paths if fnmatchcase(path.name, pattern))


def remove_tree(folder: Path) -> None:
    """Delete a directory tree of any depth, with any file names and modes.

    `shutil.rmtree` fails where paths exceed the system's limit, so subdirectories are moved up before they
    are emptied. A symbolic link is deleted, not followed; a missing directory is not an error.
    """
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    folder.chmod(stat.S_IRWXU)
    pending = [Path(entry) for entry in os.scandir(folder)]
    prefix = folder / uuid4().hex  # unique names in `folder`: a full disk may not allow a new directory
    for current in pending:  # grows during the iteration
        if current.is_symlink() or not current.is_dir():
            current.unlink()
            continue
        current.chmod(stat.S_IRWXU)
        for entry in list(os.scandir(current)):
            path = Path(entry)
            if entry.is_dir(follow_symlinks=False):
                path.chmod(stat.S_IRWXU)  # moving a directory writes to it
                pending.append(path.rename(f"{prefix}_{len(pending)}"))
            else:
                path.unlink()
        current.rmdir()
    folder.rmdir()
