"""Faults and limits that a test sets up in a process of its own, before `cloob` starts in it."""

import ctypes
import itertools
import os
import resource
import signal
import subprocess
import time
from datetime import timedelta

from cloob.train import distributed, local_copy, loop, rendezvous, setup, state

_CLONE_NEWNS = 0x20000


def signal_after_steps(steps, number=signal.SIGKILL):
    """After so many steps, the process and its loader workers receive a signal, as from a scheduler."""
    submit_step, counter = loop._submit_step, itertools.count(1)

    def wrapper(*arguments):
        submitted = submit_step(*arguments)
        if next(counter) == steps:
            os.killpg(0, number)
        return submitted

    loop._submit_step = wrapper


def slow_file_system():
    """A copy of the shards and a checkpoint take two seconds."""

    def slow(function):
        def wrapper(*arguments):
            time.sleep(2)
            return function(*arguments)

        return wrapper

    local_copy.sha256_file = slow(local_copy.sha256_file)
    state.write_checkpoint = slow(state.write_checkpoint)


def limit_file_size(size):
    """No file may be larger than `size` bytes, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def limit_shared_memory(size):
    """Mount a /dev/shm of this size (`24k`), which only this process and its children see; needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", "/dev/shm"], check=True)


def skip_shared_memory_check():
    """Training starts without checking the size of /dev/shm."""
    setup.check_shared_memory = lambda *_: None


def shorten_rendezvous(grace=1):
    """Waiting for the other processes times out after a second, `grace` seconds later at most."""
    rendezvous._TIMEOUT, rendezvous._GRACE = timedelta(seconds=1), timedelta(seconds=grace)


def die_in_init_process_group():
    """The process dies while it connects to the others."""
    distributed.dist.init_process_group = lambda *_, **__: os._exit(1)
