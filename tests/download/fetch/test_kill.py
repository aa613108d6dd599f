"""Killed at random moments, a fetch ends with the ledger and the bytes of an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cloob.download.fetch.completed_tars import read_completed_tars
from cloob.download.fetch.round import FetchOptions, ImageOptions
from tests.helpers.served_parts import RememberingServer, flags_of, guard, jpeg

LINKS, PER_TAR, PARTS = 400, 20, 2
IMAGES = ImageOptions(64, 90, 3.0, 16, samples_per_tar=PER_TAR)
EFFORT = FetchOptions("cloob-tests", 50, 2, 0, rounds=2, seconds_between_rounds=0, processes=2, threads=8)


def command(folder: Path, links: Path, part: int, website: RememberingServer) -> list[str]:
    where = {"urls": links, "part": part, "parts": PARTS}
    where |= {"folder": folder / f"{part:04d}", "ledger": folder / f"{part:04d}_ledger.parquet"}
    words = [word for name, value in where.items() for word in (f"--{name}", str(value))]
    flags = flags_of(IMAGES, EFFORT, guard(website))
    return [sys.executable, "-m", "cloob", "download", "fetch", *words, *flags]


def account(folder: Path) -> list[tuple]:
    """Every row of all ledgers; the bytes themselves instead of where the order of the answers put them."""
    rows = []
    for part in range(PARTS):
        for row in pq.read_table(folder / f"{part:04d}_ledger.parquet").to_pylist():
            content = None
            if row["tar"] is not None:
                with (folder / row["tar"]).open("rb") as tar:
                    tar.seek(row["offset"])
                    content = tar.read(row["length"])
            rows.append((*(value for name, value in row.items() if name != "offset"), content))
    return rows


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_kills_at_random_moments_change_nothing(website: RememberingServer, tmp_path: Path):
    bad = {3: "gone.jpg", 7: "always/503/1.jpg", 11: "page.jpg", 250: "always/410/1.jpg", 251: "empty.jpg"}
    (website.root / "page.jpg").write_bytes(b"<!DOCTYPE html>")
    (website.root / "empty.jpg").write_bytes(b"")
    urls = []
    for number in range(LINKS):
        (website.root / f"{number}.jpg").write_bytes(jpeg(number, 96 if number % 3 else 48, 40))
        urls.append(f"{website.address}/{bad.get(number, f'{number}.jpg')}")
    uids = [f"{number:09d}" for number in range(LINKS)]
    links = tmp_path / "urls.parquet"
    pq.write_table(pa.table({"uid": uids, "url": urls, "caption": uids}), links)
    # Both parts at once, as a cluster runs them.
    jobs = [subprocess.Popen(command(tmp_path / "whole", links, part, website)) for part in range(PARTS)]
    assert [job.wait() for job in jobs] == [0] * PARTS
    whole = account(tmp_path / "whole")
    assert Counter(row[1] for row in whole)["kept"] == LINKS - len(bad)

    def path_of(row: dict) -> str:
        return urls[int(row["uid"])].removeprefix(website.address)

    draw, kills, held = random.Random(0), 0, Counter()
    website.asked.clear()
    ledgers = [tmp_path / "torn" / f"{part:04d}_ledger.parquet" for part in range(PARTS)]
    while kills < 10 or not all(ledger.exists() for ledger in ledgers):
        jobs = [subprocess.Popen(command(tmp_path / "torn", links, part, website)) for part in range(PARTS)]
        if kills < 10:
            # Half of them while it starts, half while it downloads.
            end, requests = time.monotonic() + draw.uniform(0, 10), len(website.asked) + draw.randint(1, 40)
            starting = kills % 2 == 0
            while any(job.poll() is None for job in jobs):
                if time.monotonic() > end if starting else len(website.asked) >= requests:
                    break
                time.sleep(0.01)
            for job in jobs:
                if job.poll() is None:
                    os.kill(job.pid, signal.SIGKILL)
            kills += 1
        assert {job.wait() for job in jobs} <= {0, -signal.SIGKILL}
        time.sleep(0.5)
        # What is held once is never asked for again.
        asked = Counter(website.asked)
        assert all(asked[path] == times for path, times in held.items())
        for part in range(PARTS):
            for table in read_completed_tars(tmp_path / "torn" / f"{part:04d}" / "round_0", {}):
                paths = [path_of(row) for row in table.to_pylist() if row["outcome"] != "http_503"]
                held.update({path: asked[path] for path in paths if path not in held})
    assert account(tmp_path / "torn") == whole
