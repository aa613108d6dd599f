"""No host is asked more often than it is asked to bear, whoever asks."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cloob.download.fetch.rate_limit import HostRateLimiter
from tests.helpers.served_parts import RememberingServer, guard, jpeg

ASK = """
import sys, time
from pathlib import Path
from cloob.download.fetch.rate_limit import HostRateLimiter
pace = HostRateLimiter(Path(sys.argv[1]), float(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    pace.wait("Example.org")
    print(time.monotonic())
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    HostRateLimiter.create_file(tmp_path / "pace")
    return tmp_path / "pace"


def test_processes_and_threads_share_the_pace_of_a_host(file: Path):
    rate, times, began = 40, [], time.monotonic()
    command = [sys.executable, "-c", ASK, str(file), str(rate), "10"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        pace = HostRateLimiter(file, rate)

        def ask() -> None:
            for _ in range(10):
                pace.wait("example.org")
                times.append(time.monotonic())

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        times += map(float, other.communicate()[0].split())
    # However late one of them wakes up, nobody comes before his turn: the nth is not before n / rate.
    assert len(times) == 30
    assert all(at - began >= number / rate for number, at in enumerate(sorted(times)))


def test_hosts_do_not_wait_for_each_other(file: Path):
    pace, began = HostRateLimiter(file, 0.01), time.monotonic()
    for number in range(20):
        pace.wait(f"host{number}.example")
    assert time.monotonic() - began < 5


ASK_SERVER = """
import json, sys, time, urllib.request
from pathlib import Path
from cloob.download.fetch.guard import Guard, install
from cloob.download.fetch.rate_limit import HostRateLimiter
HostRateLimiter.create_file(Path(sys.argv[2]))
install(Guard((sys.argv[1],), 10**6, 10**6, 1), HostRateLimiter(Path(sys.argv[2]), 0.5))
begun = time.monotonic()
for _ in range(2):
    print(len(urllib.request.urlopen(f"http://{sys.argv[1]}/one.jpg", timeout=1).read()))
print(time.monotonic() - begun)
"""


def test_waiting_for_the_turn_is_no_time_out(website: RememberingServer, tmp_path: Path):
    (website.root / "one.jpg").write_bytes(jpeg(1))
    command = [sys.executable, "-c", ASK_SERVER, guard(website).allowed[0], str(tmp_path / "pace")]
    *sizes, seconds = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert sizes == [str(len(jpeg(1)))] * 2
    assert float(seconds) >= 2, "the second request did not wait longer than any time-out"
