"""Run processes to their end and check that no child process survives."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

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
                with suppress(ProcessLookupError):
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


def input_error(process):
    """The one-line error with which a process of `cloob` fails."""
    _, errors = communicate(process)
    assert process.returncode == 2, errors
    [line] = errors.splitlines()
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
