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
    path.write_text(f"results: {tmp_path}/results\nworld:\n  port: {port}\n")
    return path


def run(config: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SERVE, str(config), "--", *command], capture_output=True, text=True, timeout=30, check=False
    )


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never happened"
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
def test_it_ends_with_the_commands_exit_status(config: Path, port: int, status: int) -> None:
    assert run(config, "sh", "-c", f"exit {status}").returncode == status
    assert not is_open(port)


def test_the_command_finds_the_server_open_and_pictures_that_it_makes_itself(config: Path, port: int) -> None:
    www = config.parent / "results" / "toy_data" / "www"
    program = f"""
import pathlib, urllib.request
www = pathlib.Path({str(www)!r}); www.mkdir(parents=True)
(www / "new.jpg").write_bytes(b"new")
print(urllib.request.urlopen("http://127.0.0.1:{port}/new.jpg").read().decode())"""
    done = run(config, sys.executable, "-c", program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "new\n", "")


def test_the_command_asks_no_proxy(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    program = "import urllib.request; print(urllib.request.proxy_bypass_environment('127.0.0.1'))"
    assert run(config, sys.executable, "-c", program).stdout == "True\n"


def test_a_port_in_use_is_one_line_with_the_remedy_and_the_command_never_runs(
    config: Path, port: int
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        done = run(config, "touch", str(config.parent / "ran"))
    assert done.returncode == 2
    assert (
        done.stderr.count("\n") == 1
        and f"world.port {port}" in done.stderr
        and "change world.port" in done.stderr
    )
    assert not (config.parent / "ran").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("results: r\nworld: {port: eighty}", "world.port"),
        ("results: r", "world.port"),
        ("world: {port: 8000}", "results"),
        ("{", "not YAML"),
    ],
)
def test_a_bad_config_is_one_line_that_names_the_key(
    tmp_path: Path, text: str, checkpoint_metadata: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    done = run(tmp_path / "bad.yaml", "true")
    assert done.returncode == 2 and checkpoint_metadata in done.stderr and done.stderr.count("\n") == 1


def test_a_command_that_does_not_exist_is_one_line(config: Path) -> None:
    done = run(config, "no-such-command")
    assert done.returncode == 2 and "no-such-command" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_command_which_decides(config: Path, number: signal.Signals) -> None:
    """The command gets the signal once, ends in its own way, and its exit status counts."""
    ready = config.parent / "ready"
    program = f"""
import pathlib, signal, sys, time
got = []
signal.signal({int(number)}, lambda *_: got.append(1))
pathlib.Path({str(ready)!r}).touch()
while not got: time.sleep(0.01)
time.sleep(0.2)
sys.exit(40 + len(got))"""
    wrapper = subprocess.Popen([*SERVE, str(config), "--", sys.executable, "-c", program])
    until(ready.exists)
    wrapper.send_signal(number)
    assert wrapper.wait(timeout=10) == 41


def test_a_command_that_is_killed_ends_the_wrapper_with_the_shells_status(config: Path) -> None:
    assert run(config, "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_the_command_does_not_outlive_a_wrapper_that_is_killed(config: Path, port: int) -> None:
    note = config.parent / "pid"
    script = f"echo $$ > {note}.new; mv {note}.new {note}; exec sleep 60"
    wrapper = subprocess.Popen([*SERVE, str(config), "--", "sh", "-c", script])
    until(note.exists)
    child = int(note.read_text())
    assert is_alive(child) and is_open(port)
    os.kill(wrapper.pid, signal.SIGKILL)
    wrapper.wait(timeout=10)
    until(lambda: not is_alive(child))
    assert not is_open(port)
