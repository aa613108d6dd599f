"""A download killed at random moments gives the same ledger and bytes as an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cloob.download.fetch.completed_tars import read_completed_tars
from cloob.download.fetch.round import FetchOptions, ImageOptions
from tests.helpers.recording_server import (
    RecordingServer,
    fetch_flags,
    guard_allowing,
    random_jpeg,
    write_url_table,
)

NUM_URLS, URLS_PER_TAR, NUM_PARTS, NUM_KILLS = 400, 20, 2, 10
IMAGE_OPTIONS = ImageOptions(64, 90, 3.0, 16, samples_per_tar=URLS_PER_TAR)
FETCH_OPTIONS = FetchOptions(
    "cloob-tests", 50, 2, 0, retry_rounds=2, seconds_between_rounds=0, processes=2, threads=8
)


def start_all_parts(folder: Path, url_table: Path, website: RecordingServer) -> list[subprocess.Popen]:
    """Start a process per part, as a cluster does."""
    jobs = []
    for part in range(NUM_PARTS):
        paths = {"urls": url_table, "folder": folder / f"{part:04d}", "ledger": ledger_path(folder, part)}
        flags = [f"--{name}={path}" for name, path in paths.items()]
        flags += [f"--part={part}", f"--num-parts={NUM_PARTS}"]
        flags += fetch_flags(IMAGE_OPTIONS, FETCH_OPTIONS, guard_allowing(website))
        jobs.append(subprocess.Popen([sys.executable, "-m", "cloob", "download", "fetch", *flags]))
    return jobs


def ledger_path(folder: Path, part: int) -> Path:
    return folder / f"{part:04d}_ledger.parquet"


def read_ledgers(folder: Path) -> list[tuple]:
    """Every row of all ledgers, with the image's bytes instead of the offset, which depends on the timing."""
    rows = []
    for part in range(NUM_PARTS):
        for row in pq.read_table(ledger_path(folder, part)).to_pylist():
            content = None
            if row["tar"] is not None:
                with (folder / row["tar"]).open("rb") as tar:
                    tar.seek(row["offset"])
                    content = tar.read(row["length"])
            rows.append((*(value for name, value in row.items() if name != "offset"), content))
    return rows


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_kills_at_random_moments_do_not_change_the_result(
    website: RecordingServer, tmp_path: Path
) -> None:
    bad = {3: "gone.jpg", 7: "always/503/1.jpg", 11: "page.jpg", 250: "always/410/1.jpg", 251: "empty.jpg"}
    (website.root / "page.jpg").write_bytes(b"<!DOCTYPE html>")
    (website.root / "empty.jpg").write_bytes(b"")
    urls: list[str | None] = []
    for number in range(NUM_URLS):
        (website.root / f"{number}.jpg").write_bytes(random_jpeg(number, 96 if number % 3 else 48, 40))
        urls.append(f"{website.url}/{bad.get(number, f'{number}.jpg')}")
    url_table = tmp_path / "urls.parquet"
    write_url_table(url_table, urls)
    jobs = start_all_parts(tmp_path / "undisturbed", url_table, website)
    assert [job.wait() for job in jobs] == [0] * NUM_PARTS
    expected = read_ledgers(tmp_path / "undisturbed")
    assert Counter(row[1] for row in expected)["kept"] == NUM_URLS - len(bad)

    def request_path(row: dict) -> str:
        return str(urls[int(row["uid"])]).removeprefix(website.url)

    rng, kills = random.Random(0), 0
    requests_when_completed: dict[str, int] = {}
    website.requests.clear()
    killed = tmp_path / "killed"
    while kills < NUM_KILLS or not all(ledger_path(killed, part).exists() for part in range(NUM_PARTS)):
        jobs = start_all_parts(killed, url_table, website)
        if kills < NUM_KILLS:
            # Every other time while it starts, else while it downloads.
            deadline = time.monotonic() + rng.uniform(0, 10)
            num_requests = len(website.requests) + rng.randint(1, 40)
            while any(job.poll() is None for job in jobs):
                if time.monotonic() > deadline if kills % 2 == 0 else len(website.requests) >= num_requests:
                    break
                time.sleep(0.01)
            for job in jobs:
                if job.poll() is None:
                    os.kill(job.pid, signal.SIGKILL)
            kills += 1
        assert {job.wait() for job in jobs} <= {0, -signal.SIGKILL}
        time.sleep(0.5)
        # URLs of completed tars are never requested again.
        requests = Counter(website.requests)
        assert all(requests[path] == times for path, times in requests_when_completed.items())
        for part in range(NUM_PARTS):
            for table in read_completed_tars(killed / f"{part:04d}" / "round_0", {}):
                for row in table.to_pylist():
                    if row["outcome"] != "http_503":
                        requests_when_completed.setdefault(request_path(row), requests[request_path(row)])
    assert read_ledgers(killed) == expected
