"""Downloads from misbehaving servers: every URL gets one outcome, at bounded cost."""

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

import pyarrow.parquet as pq
import pytest

from cloob.download.fetch.guard import Guard
from cloob.download.fetch.round import FetchOptions, ImageOptions
from tests.helpers.hostile_server import HostileServer, hostile_server
from tests.helpers.recording_server import (
    RecordingServer,
    fetch_flags,
    guard_allowing,
    random_jpeg,
    write_url_table,
)

IMAGE_OPTIONS = ImageOptions(256, 90, 3.0, 16, samples_per_tar=100)
FETCH_OPTIONS = FetchOptions(
    "cloob-tests", 1000, 2, 0, retry_rounds=1, seconds_between_rounds=0, processes=1, threads=8
)
MAX_WORKER_MB = 450  # 30,000 × 30,000 pixels take 900 MB in OpenCV's smallest format

# Path on the hostile server, or whole URL; outcome; HTTP status.
EXPECTED = [
    ("redirect", "forbidden_address", None),
    ("to_file", "http_302", 302),
    ("endless", "too_many_bytes", 200),
    ("dripping", "too_slow", None),
    ("headers", "too_slow", None),
    ("pixel_bomb", "too_many_pixels", 200),
    ("many_scans", "too_complex", 200),
    ("partial", "http_206", 206),
    ("no_content", "http_204", 204),
    ("cut", "connection_lost", None),
    ("chunks", "connection_lost", None),
    ("chunk_size_minus_one", "too_many_bytes", 200),
    ("chunk_size_negative", "too_many_bytes", 200),
    ("chunk_size_int64_max", "too_many_bytes", 200),
    ("chunk_size_of_many_digits", "too_many_bytes", 200),
    ("chunk_size_empty", "connection_lost", None),
    ("trailers", "too_many_bytes", 200),
    ("redirect_with_body", "too_many_bytes", 200),
    ("slow_redirects", "too_slow", None),
    ("dripping_trailers", "too_slow", None),
    ("hang_up", "connection_lost", None),
    ("junk", "other_download_error", None),
    ("misleading_status_line", "other_download_error", None),
    ("misleading_protocol", "other_download_error", None),
    ("misleading_reason", "http_404", 404),
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
FETCH_WITH_PEAK_MEMORY = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "cloob", *sys.argv[1:]], stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000)
sys.exit(done.returncode)
"""


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


def random_malformed_url(seed: int) -> str:
    rng = random.Random(seed)
    letters = "http:/.?#[]@%&=\\ \t\r\n\0äß€𝕏-_~'\"<>{}|^`0123456789"
    return rng.choice(["", "http://", "http://127.0.0.1:1/"]) + "".join(rng.choices(letters, k=40))


def fetch_arguments(folder: Path, fetch_options: FetchOptions, guard: Guard) -> list[str]:
    """The arguments of `cloob` that download all of `folder / "urls.parquet"`."""
    arguments = ["download", "fetch", "--urls", f"{folder}/urls.parquet", "--part", "0", "--num-parts", "1"]
    arguments += ["--folder", f"{folder}/0", "--ledger", f"{folder}/0.parquet"]
    return arguments + fetch_flags(IMAGE_OPTIONS, fetch_options, guard)


def fetch_command(folder: Path, fetch_options: FetchOptions, guard: Guard) -> list[str]:
    return [sys.executable, "-m", "cloob", *fetch_arguments(folder, fetch_options, guard)]


def test_every_url_has_the_expected_outcome_at_bounded_memory(
    hostile: HostileServer, website: RecordingServer, tmp_path: Path
) -> None:
    (website.root / "good.jpg").write_bytes(random_jpeg(3))
    with RecordingServer(tmp_path) as forbidden:
        (tmp_path / "secret.jpg").write_bytes(random_jpeg(1))
        hostile.target = f"http://localhost:{forbidden.server_address[1]}/secret.jpg"
        root = f"http://127.0.0.1:{hostile.server_address[1]}"
        urls = [
            target if target is None or ":" in target or not target else f"{root}/{target}"
            for target, _, _ in EXPECTED
        ]
        urls += [f"{forbidden.url}/secret.jpg", f"{website.url}/good.jpg"]
        uids = write_url_table(tmp_path / "urls.parquet", [*urls, *map(random_malformed_url, range(40))])
        arguments = fetch_arguments(tmp_path, FETCH_OPTIONS, guard_allowing(hostile, website, max_seconds=3))
        command = [sys.executable, "-c", FETCH_WITH_PEAK_MEMORY, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = pq.read_table(tmp_path / "0.parquet").to_pylist()
    assert [row["uid"] for row in rows] == uids
    results = [(row["outcome"], row["http_status"]) for row in rows]
    assert results[: len(EXPECTED)] == [(outcome, status) for _, outcome, status in EXPECTED]
    assert results[len(EXPECTED) : len(EXPECTED) + 2] == [("forbidden_address", None), ("kept", 200)]
    assert Counter(row["outcome"] for row in rows)["kept"] == 1
    assert forbidden.requests == []
    assert int(done.stdout.splitlines()[-1]) < MAX_WORKER_MB


def descendants(pid: int) -> list[int]:
    """All child processes, recursively (Linux)."""
    children = [
        int(child)
        for file in Path(f"/proc/{pid}/task").glob("*/children")
        for child in file.read_text().split()
    ]
    return [process for child in children for process in (child, *descendants(child))]


def test_a_killed_worker_aborts_the_download_instead_of_blocking_it(
    website: RecordingServer, tmp_path: Path
) -> None:
    write_url_table(tmp_path / "urls.parquet", [f"{website.url}/stall/{number}" for number in range(8)])
    patient = replace(FETCH_OPTIONS, timeout=200)
    command = fetch_command(tmp_path, patient, guard_allowing(website, max_seconds=200))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
        while not any(path.startswith("/stall/") for path in website.requests):
            assert job.poll() is None
            time.sleep(0.05)
        workers = [
            pid for pid in descendants(job.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(max(workers), signal.SIGKILL)
        _, stderr = job.communicate(timeout=60)
    assert job.returncode == 2
    message = "img2dataset exited with status -9 (a worker has died with status -9); run again to resume"
    assert message in stderr
    assert not (tmp_path / "0.parquet").exists()


def urls_of_large_images(website: RecordingServer) -> list[str]:
    """URLs of 60 images, 1.2 MB in total, and 40 URLs without a file."""
    for number in range(60):
        (website.root / f"{number}.jpg").write_bytes(random_jpeg(number, 200, 150))
    missing = [f"{website.url}/missing/{number}" for number in range(40)]
    return [f"{website.url}/{number}.jpg" for number in range(60)] + missing


def test_a_file_size_limit_is_a_one_line_error_and_the_download_resumes_later(
    website: RecordingServer, tmp_path: Path
) -> None:
    write_url_table(tmp_path / "urls.parquet", urls_of_large_images(website))
    command = fetch_command(tmp_path, FETCH_OPTIONS, guard_allowing(website))
    limited = ["bash", "-c", 'ulimit -f 600; exec "$0" "$@"', *command]
    done = subprocess.run(limited, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    message = f"cloob download fetch: error: {tmp_path / '0'}: File too large; "
    assert done.stderr.splitlines()[-1].startswith(message)
    assert not (tmp_path / "0.parquet").exists()
    subprocess.run(command, check=True, capture_output=True)
    outcomes = Counter(pq.read_table(tmp_path / "0.parquet")["outcome"].to_pylist())
    assert outcomes == {"kept": 60, "http_404": 40}


@pytest.mark.parametrize("kilobytes", [16, 40, 800])
def test_a_full_disk_is_a_one_line_error(website: RecordingServer, tmp_path: Path, kilobytes: int) -> None:
    write_url_table(tmp_path / "urls.parquet", urls_of_large_images(website))
    command = fetch_command(tmp_path, FETCH_OPTIONS, guard_allowing(website))
    # A separate small file system in a mount namespace; not every machine lets its users create these.
    namespace = ["unshare", "--map-root-user", "--mount", "bash", "-c"]
    if subprocess.run([*namespace, "mount -t tmpfs tmpfs /mnt"], check=False, capture_output=True).returncode:
        pytest.skip("users may not create mount namespaces here")
    (tmp_path / "0").mkdir()
    script = f'mount -t tmpfs -o size={kilobytes}k tmpfs {tmp_path / "0"} && exec "$0" "$@"'
    start = time.monotonic()
    done = subprocess.run(
        [*namespace, script, *command], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    message = done.stderr.splitlines()[-1]
    assert message.startswith(f"cloob download fetch: error: {tmp_path / '0'}")
    assert "No space left on device; free space there" in message
    assert time.monotonic() - start < 30
    assert not (tmp_path / "0.parquet").exists()


def test_permanent_failures_are_not_retried(hostile: HostileServer, tmp_path: Path) -> None:
    hostile.requests.clear()
    permanent = ["endless", "chunk_size_minus_one", "no_content", "misleading_reason"]
    root = f"http://127.0.0.1:{hostile.server_address[1]}"
    write_url_table(tmp_path / "urls.parquet", [f"{root}/{path}" for path in [*permanent, "hang_up"]])
    options = replace(FETCH_OPTIONS, retries=2, retry_rounds=2)
    subprocess.run(fetch_command(tmp_path, options, guard_allowing(hostile)), check=True, capture_output=True)
    assert Counter(hostile.requests) == {f"/{path}": 1 for path in permanent} | {"/hang_up": 6}
