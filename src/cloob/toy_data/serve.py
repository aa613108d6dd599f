"""A command that runs with the small world's server around it: both begin and end together."""

import os
import signal
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

from cloob.common.errors import InputError
from cloob.common.processes import die_with_parent
from cloob.common.yaml_file import read_yaml
from cloob.toy_data.server import WorldServer

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(config: Path, command: list[str]) -> int:
    """Run `command` while `<results>/toy_data/www` is served on the config's `world.port`.

    Signals reach the command's whole process group, as those of a terminal do. Where this process
    is killed, the kernel ends the command (Linux). The command uses no proxy. Returns the command's
    exit status, or 128 + the number of the signal that ended it. Raises `InputError` for a bad config,
    a port that is taken and a command that cannot be started.
    """
    root, port = _read(config)
    try:
        server = WorldServer(root, port)
    except OSError as error:
        reason = f"world.port {port} cannot be had ({error.strerror})"
        raise InputError(f"{config}: {reason}; end what uses it, or change world.port") from None
    # The signals wait until the command is there to get them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    try:
        # No thread runs yet, so that code between fork and exec is safe.
        tie = partial(_tie_to, os.getpid())
        # The whole world is on this machine: no proxy is asked for it, nor for its hosts that do not exist.
        environment = os.environ | {"no_proxy": "*", "NO_PROXY": "*"}
        child = subprocess.Popen(command, process_group=0, preexec_fn=tie, env=environment)  # noqa: PLW1509
    except OSError as error:
        server.server_close()
        raise InputError(f"{command[0]}: cannot be started ({error.strerror})") from None
    before = {number: signal.signal(number, lambda got, _: _send(child, got)) for number in _FORWARDED}
    try:
        with server:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
            status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _read(config: Path) -> tuple[Path, int]:
    """The served folder and the port, from the config's `results` and `world.port`."""
    content = read_yaml(config, "config with `world.port`")
    content = content if isinstance(content, dict) else {}
    results = content.get("results")
    world = content.get("toy_data")
    port = world.get("port") if isinstance(world, dict) else None
    if not isinstance(results, str) or not results:
        raise InputError(f"{config}: the key results must name the results folder, not {results!r}")
    if type(port) is not int or not 0 < port < 65536:
        raise InputError(f"{config}: the key world.port must be a number from 1 to 65535, not {port!r}")
    return Path(results) / "toy_data" / "www", port


def _send(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _tie_to(parent: int) -> None:
    """Runs in the command's process before it starts: it gets the signals, and dies with its parent."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    die_with_parent(parent, signal.SIGTERM)
