"""Process pools and loader workers: no child outlives its parent or pool, whatever fails."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.common.processes import process_pool

LONG = 600.0  # seconds; no test waits for such a task


def kill_self(_: object = None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_or_fail(seconds: float) -> float:
    if seconds < 0:
        raise ValueError("failure")
    time.sleep(seconds)
    return seconds


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, InputError])
def test_pool_is_killed_when_the_with_block_raises(kind: type[BaseException]) -> None:
    with pytest.raises(kind), process_pool(2) as pool:
        pool.submit(time.sleep, LONG)
        pool.submit(sleep_or_fail, 0).result()
        raise kind("failure")
    assert multiprocessing.active_children() == []


def test_killed_pool_worker_raises_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = ProcessPoolExecutor._spawn_process

    def spawn_slowly(pool: ProcessPoolExecutor) -> None:
        time.sleep(0.2)  # so that the executor's thread starts watching first
        spawn(pool)

    monkeypatch.setattr(ProcessPoolExecutor, "_spawn_process", spawn_slowly)
    with pytest.raises(InputError, match="one of 2 worker processes was killed"), process_pool(2) as pool:
        pool.submit(time.sleep, LONG)
        pool.submit(kill_self).result()
    assert multiprocessing.active_children() == []


def test_pool_workers_die_with_their_killed_parent() -> None:
    script = "import os, time\nfrom cloob.common.processes import process_pool\n"
    script += "with process_pool(2) as pool:\n"
    script += "    print(*{pool.submit(os.getpid).result() for _ in range(20)}, flush=True)\n"
    script += "    time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        workers = process.stdout.readline().split()
        process.kill()
    assert workers
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/stat").exists() for pid in workers):
        assert time.monotonic() < end, "workers are still running"
        time.sleep(0.05)
