"""Faults and limits that a test sets up in a process of its own, before `cloob` starts in it."""

import _thread
import ctypes
import itertools
import math
import os
import resource
import signal
import subprocess
import time
from datetime import timedelta

from cloob.train import distributed, loop, rendezvous, setup, shard_copy, state

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


def signal_one_process_after_steps(steps, number, rank):
    """After so many steps, only the process of this rank receives a signal."""
    if os.environ["RANK"] == str(rank):
        signal_after_steps(steps, number)


def ctrl_c_in_fork():
    """Another thread of the process receives SIGINT while the main one forks a child."""

    def interrupt():
        _thread.interrupt_main()  # handled within this function, where Python ignores exceptions

    os.register_at_fork(after_in_parent=interrupt)


def poison_weights_after_steps(steps):
    """After so many steps, the weights are NaN, as after a fault of the hardware; prints every step."""
    submit_step, counter = loop._submit_step, itertools.count(1)

    def wrapper(training, *arguments):
        submitted = submit_step(training, *arguments)
        print(f"submitted step {submitted.number + 1}", flush=True)
        if next(counter) == steps:
            training.model.visual.conv1.weight.data.fill_(math.nan)
        return submitted

    loop._submit_step = wrapper


def slow_file_system():
    """A block of a copy of the shards and a checkpoint take two seconds."""
    copy_and_hash, write_checkpoint = shard_copy.copy_and_hash, state.write_checkpoint

    def slow_copy(source, target, advance, is_ending):
        def slow_advance(size):
            advance(size)
            time.sleep(2)

        return copy_and_hash(source, target, slow_advance, is_ending)

    def slow_checkpoint(*arguments):
        time.sleep(2)
        return write_checkpoint(*arguments)

    shard_copy.copy_and_hash, state.write_checkpoint = slow_copy, slow_checkpoint


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
