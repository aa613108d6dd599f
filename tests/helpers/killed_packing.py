"""Pack with kills: SIGKILL in place of every rename to a final name, one run after the other."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

from tests.helpers.packing import pack_download

Download = tuple[list[Path], Path]


def pack_until_rename(download: Download, out: Path, number: int, options: dict[str, Any]) -> None:
    """Pack, with a SIGKILL in place of the `number`-th rename to a final name (1-based)."""
    num_renames, rename = 0, Path.replace

    def replace(path: Path, target: Path) -> Path:
        nonlocal num_renames
        num_renames += 1
        if num_renames == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(path, target)

    Path.replace = replace  # type: ignore[assignment,method-assign]
    pack_download(download, out, **options)


def pack_with_kill_at_every_rename(download: Download, out: Path, **options: Any) -> int:
    """Pack with a kill before the 1st, 2nd, … rename until a run completes; return the number of runs."""
    fork = multiprocessing.get_context("fork")
    for number in range(1, 100):
        run = fork.Process(target=pack_until_rename, args=(download, out, number, options))
        run.start()
        run.join()
        if run.exitcode == 0:
            return number
        assert run.exitcode == -signal.SIGKILL and not (out / "shards.json").exists()
    raise AssertionError("packing never completed")
