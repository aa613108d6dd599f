"""Run a command together with the web server of the toy dataset."""

import os
import signal
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

from cloob.common.errors import InputError
from cloob.common.processes import die_with_parent
from cloob.common.yaml_file import read_yaml
from cloob.toy_data.server import ToyDataServer

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(config: Path, command: list[str]) -> int:
    """Run `command` while `<results>/toy_data/www` is served on `toy_data.port` of the config.

    Signals are forwarded to the process group of the command, as a terminal does. If this process is
    killed, so is the command (Linux). The command uses no proxy. Returns the exit status of the command,
    or 128 + the number of the signal that ended it. Raises `InputError` for an invalid config, a port in
    use, and a command that cannot be started.
    """
    root, port = _read_config(config)
    try:
        server = ToyDataServer(root, port)
    except OSError as error:
        reason = f"toy_data.port {port} is not available ({error.strerror})"
        raise InputError(
            f"{config}: {reason}; stop the process that uses it, or change toy_data.port"
        ) from None
    # Signals are blocked until the command has started and its handlers are installed.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    try:
        # No other thread runs yet, so a preexec_fn is safe.
        prepare = partial(_prepare_child, os.getpid())
        # All hosts are local or do not exist: requests must not go to a proxy.
        environment = os.environ | {"no_proxy": "*", "NO_PROXY": "*"}
        child = subprocess.Popen(command, process_group=0, preexec_fn=prepare, env=environment)  # noqa: PLW1509
    except OSError as error:
        server.server_close()
        raise InputError(f"{command[0]}: cannot be started ({error.strerror})") from None
    previous = {
        number: signal.signal(number, lambda received, _: _send(child, received)) for number in _FORWARDED
    }
    try:
        with server:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
            status = child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _read_config(config: Path) -> tuple[Path, int]:
    """The served folder and the port, from the keys `results` and `toy_data.port`."""
    content = read_yaml(config, "config with `toy_data.port`")
    content = content if isinstance(content, dict) else {}
    results = content.get("results")
    toy_data = content.get("toy_data")
    port = toy_data.get("port") if isinstance(toy_data, dict) else None
    if not isinstance(results, str) or not results:
        raise InputError(f"{config}: the key results must name the results folder, not {results!r}")
    if type(port) is not int or not 0 < port < 65536:
        raise InputError(f"{config}: the key toy_data.port must be a number from 1 to 65535, not {port!r}")
    return Path(results) / "toy_data" / "www", port


def _send(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _prepare_child(parent: int) -> None:
    """Called in the child before exec: unblock the signals, and die with the parent."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    die_with_parent(parent, signal.SIGTERM)
