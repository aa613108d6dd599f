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


INTERRUPTED_POOL = """
import os, signal, threading, time
from cloob.common.interruption import Interruption
from cloob.common.processes import process_pool

if __name__ == "__main__":
    with Interruption("cloob verb") as interruption:
        try:
            with process_pool(2) as pool:
                threading.Timer({seconds}, os.killpg, (0, signal.SIGINT)).start()
                pool.submit(time.sleep, 600).result()
        except KeyboardInterrupt:
            interruption.report()
            os._exit(130)  # as at the end of every interrupted command
"""


@pytest.mark.parametrize("seconds", [0.05, 1.0])
def test_ctrl_c_prints_one_line_also_while_a_pool_starts(seconds: float, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED_POOL.format(seconds=seconds))
    command = [sys.executable, script]
    done = subprocess.run(
        command, capture_output=True, text=True, start_new_session=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (130, "cloob verb: interrupted\n")


def test_semaphores_of_a_killed_process_are_deleted_without_a_message() -> None:
    script = (
        "import multiprocessing, os\nfrom cloob.common import processes\n"
        "lock = multiprocessing.get_context('spawn').Lock()\nprint(lock._semlock.name, flush=True)\n"
        "os._exit(1)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert not Path("/dev/shm", f"sem.{done.stdout.strip().lstrip('/')}").exists()
