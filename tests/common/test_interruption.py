"""Ctrl-C ends a process with status 130 and one line, wherever Python raises `KeyboardInterrupt`."""

import subprocess
import sys

import pytest

# A program with the structure of `cloob.cli.main`: BODY is what a verb does.
PROGRAM = """
import os, signal, sys, time, weakref
from cloob.common.interruption import STATUS, Interruption

def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)

with Interruption("cloob verb") as interruption:
    try:
        BODY
        sys.exit(0)
    except Exception:
        if not interruption.received:
            raise
    except KeyboardInterrupt:
        pass
    interruption.report()
    sys.exit(STATUS)
"""

AFTER_FORK = "os.register_at_fork(after_in_parent=ctrl_c); os.fork() or os._exit(0); time.sleep(30)"
DESTRUCTOR = "type('Loader', (), {'__del__': lambda self: ctrl_c()})(); time.sleep(30)"
WEAK_REFERENCE = """
        target = {1}
        reference = weakref.ref(target, lambda _: ctrl_c())
        del target
        time.sleep(30)"""
OTHER_EXCEPTION = """
        try:
            ctrl_c()
        finally:
            raise AttributeError("half-initialized")"""
DURING_CLEANUP = """
        try:
            ctrl_c()
        finally:
            ctrl_c()"""
FAILING_DESTRUCTOR = """
        class Loader:
            def __del__(self):
                raise AttributeError("half-initialized")
        try:
            ctrl_c()
        finally:
            Loader()"""


def run(body: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM.replace("BODY", body.lstrip())]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(
    "body",
    ["ctrl_c()", AFTER_FORK, DESTRUCTOR, WEAK_REFERENCE, OTHER_EXCEPTION, DURING_CLEANUP, FAILING_DESTRUCTOR],
)
def test_ctrl_c_anywhere_ends_the_process_in_one_line(body: str) -> None:
    done = run(body)
    assert (done.returncode, done.stderr) == (130, "cloob verb: interrupted\n")


@pytest.mark.parametrize("body", ["raise ValueError('x')", "1 / 0"])
def test_an_error_without_ctrl_c_is_raised(body: str) -> None:
    done = run(body)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "interrupted" not in done.stderr


def test_an_error_in_a_callback_without_ctrl_c_is_printed() -> None:
    done = run("type('Loader', (), {'__del__': lambda self: 1 / 0})()")
    assert done.returncode == 0
    assert "ZeroDivisionError" in done.stderr


def test_a_background_job_of_a_shell_goes_on_ignoring_ctrl_c() -> None:
    program = PROGRAM.replace("BODY", "os.kill(os.getpid(), signal.SIGINT)")
    command = ["bash", "-c", 'trap "" INT; exec "$@"', "bash", sys.executable, "-c", program]
    done = subprocess.run(command, timeout=20, check=False)
    assert done.returncode == 0


def test_a_second_ctrl_c_after_the_with_block_is_silent() -> None:
    program = PROGRAM.replace("BODY", "ctrl_c()").replace("    sys.exit(STATUS)\n", "ctrl_c()\n")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (130, "cloob verb: interrupted\n")


def test_ctrl_c_that_also_ended_the_reader_of_stderr_has_its_status() -> None:
    program = PROGRAM.replace("BODY", "sys.stdin.read(); ctrl_c()")
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stderr
        process.stderr.close()
        process.stdin.close()
        assert process.wait(20) == 130
