"""Host rate limiting across processes and threads."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cloob.download.fetch.rate_limit import HostRateLimiter
from tests.helpers.recording_server import RecordingServer, guard_allowing, random_jpeg

WAIT_REPEATEDLY = """
import sys, time
from pathlib import Path
from cloob.download.fetch.rate_limit import HostRateLimiter
limiter = HostRateLimiter(Path(sys.argv[1]), float(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    limiter.wait("Example.org")
    print(time.monotonic())
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    HostRateLimiter.create_file(tmp_path / "limits")
    return tmp_path / "limits"


def test_processes_and_threads_share_the_limit_of_a_host(file: Path) -> None:
    rate, times, start = 40, [], time.monotonic()
    command = [sys.executable, "-c", WAIT_REPEATEDLY, str(file), str(rate), "10"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        limiter = HostRateLimiter(file, rate)

        def wait_repeatedly() -> None:
            for _ in range(10):
                limiter.wait("example.org")
                times.append(time.monotonic())

        threads = [threading.Thread(target=wait_repeatedly) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        times += map(float, other.communicate()[0].split())
    # However late a thread wakes up, request number n does not start before n / rate.
    assert len(times) == 30
    assert all(at - start >= number / rate for number, at in enumerate(sorted(times)))


def test_hosts_have_independent_limits(file: Path) -> None:
    limiter, start = HostRateLimiter(file, 0.01), time.monotonic()
    for number in range(20):
        limiter.wait(f"host{number}.example")
    assert time.monotonic() - start < 5


REQUEST_TWICE = """
import json, sys, time, urllib.request
from pathlib import Path
from cloob.download.fetch.guard import Guard, install
from cloob.download.fetch.rate_limit import HostRateLimiter
address, file = sys.argv[1], Path(sys.argv[2])
HostRateLimiter.create_file(file)
install(Guard((address,), 10**6, 10**6, 1), HostRateLimiter(file, 0.5))
start = time.monotonic()
for _ in range(2):
    print(len(urllib.request.urlopen(f"http://{address}/image.jpg", timeout=1).read()))
print(time.monotonic() - start)
"""


def test_time_in_the_rate_limiter_does_not_count_towards_the_timeout(
    website: RecordingServer, tmp_path: Path
) -> None:
    (website.root / "image.jpg").write_bytes(random_jpeg(1))
    address = guard_allowing(website).allowed_addresses[0]
    command = [sys.executable, "-c", REQUEST_TWICE, address, str(tmp_path / "limits")]
    *sizes, seconds = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert sizes == [str(len(random_jpeg(1)))] * 2
    assert float(seconds) >= 2, "the second request was not delayed beyond the timeout"
