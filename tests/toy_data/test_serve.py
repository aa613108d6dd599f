"""`cloob toy-data serve`: the server runs while the command runs; exit status and signals are forwarded."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SERVE = [sys.executable, "-m", "cloob", "toy-data", "serve", "--config"]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def config(tmp_path: Path, port: int) -> Path:
    path = tmp_path / "demo.yaml"
    path.write_text(f"results: {tmp_path}/results\ntoy_data:\n  port: {port}\n")
    return path


def run(config: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SERVE, str(config), "--", *command], capture_output=True, text=True, timeout=30, check=False
    )


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("status", [0, 7])
def test_exit_status_is_that_of_the_command(config: Path, port: int, status: int) -> None:
    assert run(config, "sh", "-c", f"exit {status}").returncode == status
    assert not is_open(port)


def test_images_created_by_the_command_are_served(config: Path, port: int) -> None:
    www = config.parent / "results" / "toy_data" / "www"
    program = f"""
import pathlib, urllib.request
www = pathlib.Path({str(www)!r}); www.mkdir(parents=True)
(www / "new.jpg").write_bytes(b"new")
print(urllib.request.urlopen("http://127.0.0.1:{port}/new.jpg").read().decode())"""
    done = run(config, sys.executable, "-c", program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "new\n", "")


def test_the_command_uses_no_proxy(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    program = "import urllib.request; print(urllib.request.proxy_bypass_environment('127.0.0.1'))"
    assert run(config, sys.executable, "-c", program).stdout == "True\n"


def test_a_port_in_use_is_a_one_line_error_and_the_command_is_not_run(config: Path, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        done = run(config, "touch", str(config.parent / "ran"))
    assert done.returncode == 2
    assert (
        done.stderr.count("\n") == 1
        and f"toy_data.port {port}" in done.stderr
        and "change toy_data.port" in done.stderr
    )
    assert not (config.parent / "ran").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("results: r\ntoy_data: {port: eighty}", "toy_data.port"),
        ("results: r", "toy_data.port"),
        ("toy_data: {port: 8000}", "results"),
        ("{", "not YAML"),
    ],
)
def test_an_invalid_config_is_a_one_line_error_with_the_key(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    done = run(tmp_path / "bad.yaml", "true")
    assert done.returncode == 2 and expected in done.stderr and done.stderr.count("\n") == 1


def test_a_missing_command_is_a_one_line_error(config: Path) -> None:
    done = run(config, "no-such-command")
    assert done.returncode == 2 and "no-such-command" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_forwarded_and_the_exit_status_is_the_commands(
    config: Path, number: signal.Signals
) -> None:
    """The command receives the signal once and handles it."""
    ready = config.parent / "ready"
    program = f"""
import pathlib, signal, sys, time
received = []
signal.signal({int(number)}, lambda *_: received.append(1))
pathlib.Path({str(ready)!r}).touch()
while not received: time.sleep(0.01)
time.sleep(0.2)
sys.exit(40 + len(received))"""
    wrapper = subprocess.Popen([*SERVE, str(config), "--", sys.executable, "-c", program])
    wait_until(ready.exists)
    wrapper.send_signal(number)
    assert wrapper.wait(timeout=10) == 41


def test_exit_status_of_a_killed_command_is_128_plus_signal_number(config: Path) -> None:
    assert run(config, "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG exists only on Linux")
def test_the_command_dies_when_the_wrapper_is_killed(config: Path, port: int) -> None:
    pid_file = config.parent / "pid"
    script = f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 60"
    wrapper = subprocess.Popen([*SERVE, str(config), "--", "sh", "-c", script])
    wait_until(pid_file.exists)
    child = int(pid_file.read_text())
    assert is_alive(child) and is_open(port)
    os.kill(wrapper.pid, signal.SIGKILL)
    wrapper.wait(timeout=10)
    wait_until(lambda: not is_alive(child))
    assert not is_open(port)
