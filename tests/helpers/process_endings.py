"""Run processes to their end and check that no child process survives."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cloob.__main__ import run

END_SECONDS = 90  # within this time, a failed run has to exit on a busy machine


def process_tree(pid):
    """The ids of a process and of all its descendants."""
    try:
        children = [
            child
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return [pid, *(descendant for child in children for descendant in process_tree(int(child)))]


def communicate(process, timeout=END_SECONDS):
    """Wait until a process and all its descendants have exited; return its (stdout, stderr)."""
    seen, end = set(), time.monotonic() + timeout
    while process.poll() is None:
        seen.update(process_tree(process.pid))
        if time.monotonic() > end:
            for pid in seen:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"still running after {timeout} seconds: {process.communicate()}")
        time.sleep(0.05)
    output = process.communicate()  # waits for all processes that have inherited its pipes
    end = time.monotonic() + 5
    while (survivors := [pid for pid in seen if is_alive(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not survivors, f"surviving processes: {survivors}"
    return output


def start(arguments, **options):
    """Start a process in a new session, with pipes for its output."""
    return subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def fork_cloob(arguments, errors, **variables):
    """Run `cloob` in a fork of this process, which saves the imports; stderr goes to the file `errors`."""
    arguments = arguments[arguments.index("cloob") :]
    process = multiprocessing.get_context("fork").Process(target=_run, args=(arguments, errors, variables))
    process.start()
    return process


def _run(arguments, errors, variables):
    os.environ.update({name: str(value) for name, value in variables.items()})
    sys.argv = arguments
    sys.stderr = errors.open("w")
    os.dup2(sys.stderr.fileno(), 2)
    torch.set_num_threads(1)  # the thread pool of the parent does not exist in a fork
    run()


def wait_for_input_error(process, errors):
    """Wait for a process of `fork_cloob` to fail; returns its one-line error."""
    process.join(END_SECONDS)
    assert process.exitcode == 2, errors.read_text()
    [line] = errors.read_text().splitlines()
    return line


def last_line(text):
    """The last line that is not empty."""
    return text.strip().splitlines()[-1]


def is_alive(pid):
    """Whether a process exists and is not a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
