"""Processes that are watched to their end: nothing of what they started is left."""

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

PATIENCE = 90  # seconds in which a failed run has to end on a busy machine


def tree(pid):
    """A process and all below it."""
    try:
        children = [
            child
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return [pid, *(each for child in children for each in tree(int(child)))]


def ended(process, patience=PATIENCE):
    """Wait for the end of a process and of all that it had started; its output."""
    seen, end = set(), time.monotonic() + patience
    while process.poll() is None:
        seen.update(tree(process.pid))
        if time.monotonic() > end:
            for pid in seen:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"it goes on: {process.communicate()}")
        time.sleep(0.05)
    said = process.communicate()  # which waits for all that hold its output open
    end = time.monotonic() + 5
    while (left := [pid for pid in seen if is_alive(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left, f"{left} outlive it"
    return said


def start(arguments, **options):
    return subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def forked(arguments, errors, **variables):
    """`cloob` in a fork of this process, which has imported all; its errors go to the file `errors`."""
    arguments = arguments[arguments.index("cloob") :]
    process = multiprocessing.get_context("fork").Process(target=_run, args=(arguments, errors, variables))
    process.start()
    return process


def _run(arguments, errors, variables):
    os.environ.update({name: str(value) for name, value in variables.items()})
    sys.argv = arguments
    sys.stderr = errors.open("w")
    os.dup2(sys.stderr.fileno(), 2)
    torch.set_num_threads(1)  # those of this process are not there in a fork
    run()


def refused(process, errors):
    """The one line with which a forked `cloob` ends."""
    process.join(PATIENCE)
    assert process.exitcode == 2, errors.read_text()
    [line] = errors.read_text().splitlines()
    return line


def last_line(text):
    return text.strip().splitlines()[-1]


def is_alive(pid):
    """Whether a process is there and not a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
