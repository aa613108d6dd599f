"""A list far nastier than the small world's: every link ends in one outcome, and none costs much."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cloob.download.fetch.round import FetchOptions, ImageOptions
from tests.helpers.hostile_server import Rogue, rogue_server
from tests.helpers.served_parts import RememberingServer, flags_of, guard, jpeg

IMAGES = ImageOptions(256, 90, 3.0, 16, samples_per_tar=100)
EFFORT = FetchOptions("cloob-tests", 1000, 2, 0, rounds=1, seconds_between_rounds=0, processes=1, threads=8)
MEGABYTES = 450  # of a worker; 30 000 × 30 000 pixels are 900 in the smallest form that OpenCV knows

# What the server does, or the link itself; the outcome, and the server's status.
ENDS = [
    ("redirect", "forbidden_address", None),
    ("to_file", "http_302", 302),
    ("endless", "too_many_bytes", 200),
    ("dripping", "too_slow", None),
    ("headers", "too_slow", None),
    ("bomb", "too_many_pixels", 200),
    ("scans", "too_complex", 200),
    ("partial", "http_206", 206),
    ("nothing", "http_204", 204),
    ("cut", "connection_lost", None),
    ("chunks", "connection_lost", None),
    ("chunk_to_the_end", "too_many_bytes", 200),
    ("chunk_below_zero", "too_many_bytes", 200),
    ("chunk_of_all", "too_many_bytes", 200),
    ("chunk_of_many_digits", "too_many_bytes", 200),
    ("chunk_without_size", "connection_lost", None),
    ("trailers", "too_many_bytes", 200),
    ("redirect_with_body", "too_many_bytes", 200),
    ("slow_redirects", "too_slow", None),
    ("dripping_trailers", "too_slow", None),
    ("hang_up", "connection_lost", None),
    ("junk", "other_download_error", None),
    ("liar", "http_404", 404),
    ("crowded", "other_download_error", None),
    ("long_line", "other_download_error", None),
    ("opted_out", "opted_out", 200),
    ("opted_out_of_us", "opted_out", 200),
    ("gzip", "not_an_image", 200),
    ("noise", "not_an_image", 200),
    ("junk?" + "x" * 60_000, "other_download_error", None),
    ("http://127.0.0.1:99999/", "forbidden_address", None),
    ("http://[::1]/", "forbidden_address", None),
    ("file:///etc/passwd", "invalid_url", None),
    ("", "invalid_url", None),
    ("http:///", "invalid_url", None),
    (None, "invalid_url", None),
]
MEASURED = """
import json, resource, subprocess, sys
command = [sys.executable, "-m", "cloob", "download", "fetch", *sys.argv[1:]]
done = subprocess.run(command, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000)
sys.exit(done.returncode)
"""


@pytest.fixture(scope="module")
def rogue() -> Iterator[Rogue]:
    with rogue_server() as server:
        yield server


def junk(seed: int) -> str:
    """Something that once was a link."""
    draw = random.Random(seed)
    letters = "http:/.?#[]@%&=\\ \t\r\n\0äß€𝕏-_~'\"<>{}|^`0123456789"
    return draw.choice(["", "http://", "http://127.0.0.1:1/"]) + "".join(draw.choices(letters, k=40))


def write_links(path: Path, urls: list[str | None]) -> list[str]:
    uids = [f"{number:09d}" for number in range(len(urls))]
    pq.write_table(pa.table({"uid": uids, "url": pa.array(urls, pa.string()), "caption": uids}), path)
    return uids


def test_each_ends_as_it_must_and_costs_bounded_memory(
    rogue: Rogue, website: RememberingServer, tmp_path: Path
):
    (website.root / "good.jpg").write_bytes(jpeg(3))
    with RememberingServer(tmp_path) as forbidden:
        (tmp_path / "secret.jpg").write_bytes(jpeg(1))
        rogue.target = f"http://localhost:{forbidden.server_address[1]}/secret.jpg"
        urls = [
            link
            if link is None or ":" in link or not link
            else f"http://127.0.0.1:{rogue.server_address[1]}/{link}"
            for link, _, _ in ENDS
        ]
        urls += [f"{forbidden.address}/secret.jpg", f"{website.address}/good.jpg", *map(junk, range(40))]
        uids = write_links(tmp_path / "urls.parquet", urls)
        flags = flags_of(IMAGES, EFFORT, guard(rogue, website, max_seconds=3))
        where = ["--folder", tmp_path / "0", "--ledger", tmp_path / "0.parquet"]
        where += ["--part", "0", "--num-parts", "1"]
        command = [sys.executable, "-c", MEASURED, "--urls", tmp_path / "urls.parquet", *where, *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = pq.read_table(tmp_path / "0.parquet").to_pylist()
    assert [row["uid"] for row in rows] == uids
    ends = [(row["outcome"], row["http_status"]) for row in rows]
    assert ends[: len(ENDS)] == [(outcome, status) for _, outcome, status in ENDS]
    assert ends[len(ENDS) : len(ENDS) + 2] == [("forbidden_address", None), ("kept", 200)]
    assert Counter(row["outcome"] for row in rows)["kept"] == 1
    assert forbidden.asked == []
    assert int(done.stdout.splitlines()[-1]) < MEGABYTES


def descendants(pid: int) -> list[int]:
    """All processes below one (Linux)."""
    below = [
        int(child)
        for listed in Path(f"/proc/{pid}/task").glob("*/children")
        for child in listed.read_text().split()
    ]
    return [one for child in below for one in (child, *descendants(child))]


def test_a_killed_worker_ends_the_fetch_instead_of_hanging_it(website: RememberingServer, tmp_path: Path):
    write_links(tmp_path / "urls.parquet", [f"{website.address}/stall/{number}" for number in range(8)])
    command = [sys.executable, "-m", "cloob", "download", "fetch", "--urls", tmp_path / "urls.parquet"]
    command += ["--part", "0", "--num-parts", "1", "--folder", tmp_path / "0", "--ledger", tmp_path / "0.parquet"]
    command += flags_of(IMAGES, replace(EFFORT, timeout=200), guard(website, max_seconds=200))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
        while not any(path.startswith("/stall/") for path in website.asked):
            assert job.poll() is None
            time.sleep(0.05)
        workers = [
            pid for pid in descendants(job.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(max(workers), signal.SIGKILL)
        _, said = job.communicate(timeout=60)
    assert job.returncode == 2
    assert "img2dataset ended with status -9 (a worker has died with status -9); run again to go on" in said
    assert not (tmp_path / "0.parquet").exists()


def fetch_command(folder: Path, urls: list[str], website: RememberingServer) -> list[str | Path]:
    write_links(folder / "urls.parquet", urls)
    command = [sys.executable, "-m", "cloob", "download", "fetch", "--urls", folder / "urls.parquet"]
    command += ["--part", "0", "--num-parts", "1", "--folder", folder / "0", "--ledger", folder / "0.parquet"]
    return command + flags_of(IMAGES, EFFORT, guard(website))


def large_urls(website: RememberingServer) -> list[str]:
    """60 images, 1.2 MB in all, and 40 that do not exist."""
    for number in range(60):
        (website.root / f"{number}.jpg").write_bytes(jpeg(number, 200, 150))
    missing = [f"{website.address}/missing/{number}" for number in range(40)]
    return [f"{website.address}/{number}.jpg" for number in range(60)] + missing


def test_a_file_size_limit_ends_the_fetch_in_one_line_and_it_goes_on_later(
    website: RememberingServer, tmp_path: Path
):
    command = fetch_command(tmp_path, large_urls(website), website)
    limited = ["bash", "-c", 'ulimit -f 600; exec "$0" "$@"', *command]
    done = subprocess.run(limited, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    said = f"cloob download fetch: error: {tmp_path / '0'}: File too large; "
    assert done.stderr.splitlines()[-1].startswith(said)
    assert not (tmp_path / "0.parquet").exists()
    subprocess.run(command, check=True, capture_output=True)
    outcomes = Counter(pq.read_table(tmp_path / "0.parquet")["outcome"].to_pylist())
    assert outcomes == {"kept": 60, "http_404": 40}


@pytest.mark.parametrize("kilobytes", [16, 40, 800])
def test_a_full_disk_ends_the_fetch_in_one_line(website: RememberingServer, tmp_path: Path, kilobytes: int):
    command = fetch_command(tmp_path, large_urls(website), website)
    # A disk of its own in a mount namespace of its own; not every machine lets its users make these.
    namespace = ["unshare", "--map-root-user", "--mount", "bash", "-c"]
    if subprocess.run([*namespace, "mount -t tmpfs tmpfs /mnt"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces for users here")
    (tmp_path / "0").mkdir()
    script = f'mount -t tmpfs -o size={kilobytes}k tmpfs {tmp_path / "0"} && exec "$0" "$@"'
    began = time.monotonic()
    done = subprocess.run(
        [*namespace, script, *command], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"cloob download fetch: error: {tmp_path / '0'}")
    assert "No space left on device; free space there" in last
    assert time.monotonic() - began < 30
    assert not (tmp_path / "0.parquet").exists()


def test_what_is_refused_for_good_is_not_requested_again(rogue: Rogue, tmp_path: Path):
    rogue.asked.clear()
    for_good = ["endless", "chunk_to_the_end", "nothing", "liar"]
    urls = [f"http://127.0.0.1:{rogue.server_address[1]}/{name}" for name in [*for_good, "hang_up"]]
    write_links(tmp_path / "urls.parquet", urls)
    command = [sys.executable, "-m", "cloob", "download", "fetch", "--urls", tmp_path / "urls.parquet"]
    command += ["--part", "0", "--num-parts", "1", "--folder", tmp_path / "0", "--ledger", tmp_path / "0.parquet"]
    command += flags_of(IMAGES, replace(EFFORT, retries=2, rounds=2), guard(rogue))
    subprocess.run(command, check=True, capture_output=True)
    assert Counter(rogue.asked) == {f"/{name}": 1 for name in for_good} | {"/hang_up": 6}
