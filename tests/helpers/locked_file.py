"""A file that another process has locked."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLD_LOCK = """
import fcntl, sys
with open(sys.argv[1], "ab") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print(flush=True)
    sys.stdin.read()
"""


@contextmanager
def locked_elsewhere(path: Path) -> Iterator[None]:
    """Lock a file, which is created if it does not exist, in another process for the `with` block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _HOLD_LOCK, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield
