"""The checkouts of the authors' two repositories: do they exist, and at which commit?"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cloob.common.errors import InputError


@dataclass(frozen=True)
class Repository:
    """A repository of the authors, and the commit with which the comparison is known to work."""

    name: str
    variable: str
    contains: str
    commit: str


AUTHORS = Repository(
    "ml-jku/cloob", "AUTHORS", "src/training/main.py", "357adda017e4104266b9ee23c821372b91e70f66"
)
HOPFIELD = Repository(
    "ml-jku/hopfield-layers", "HOPFIELD", "hflayers/__init__.py", "f56f929c95b77a070ae675ea4f56b6d54d36e730"
)
_ANY_COMMIT = "`python -m benchmarks.parity --authors=AUTHORS --hopfield=HOPFIELD --any-commit` accepts it"


def checked_commit(repository: Repository, folder: Path, any_commit: bool = False) -> str:
    """The commit of a checkout. Raises `InputError` if it is missing, changed or of an unknown commit.

    With `any_commit`, another commit and local changes are accepted, and the answer says so.
    """
    flag = f"{repository.variable}={folder}"
    if not folder.is_dir():
        raise InputError(
            f"{flag}: no such folder; clone https://github.com/{repository.name} and give its path"
        )
    if not (folder / repository.contains).is_file():
        raise InputError(
            f"{flag}: {repository.contains} is missing; give a checkout of https://github.com/{repository.name}"
        )
    top = _git(folder, "rev-parse", "--show-toplevel")
    commit = _git(folder, "rev-parse", "HEAD")
    if top is None or commit is None or Path(top).resolve() != folder.resolve():
        if any_commit:
            return "unknown"
        raise InputError(f"{flag}: no git checkout, so its commit is unknown; clone it, or {_ANY_COMMIT}")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no") != ""
    if not any_commit and commit != repository.commit:
        raise InputError(
            f"{flag}: commit {commit[:12]}, but the comparison was tested with {repository.commit[:12]}; "
            f"`git -C {folder} checkout {repository.commit[:12]}`, or {_ANY_COMMIT}"
        )
    if not any_commit and changed:
        raise InputError(f"{flag}: tracked files were changed; `git -C {folder} stash`, or {_ANY_COMMIT}")
    return commit[:12] + (", changed" if changed else "")


def _git(folder: Path, *arguments: str) -> str | None:
    # A checkout may belong to another user, as in a container; its code is run anyway.
    trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | trust)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
