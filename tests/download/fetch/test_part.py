"""Downloads of one part with the real img2dataset from a local server, killed half-way and resumed."""

import io
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from cloob.common.errors import InputError
from cloob.download.corpora import conceptual_captions
from cloob.download.fetch.completed_tars import prepare_output_dir, read_completed_tars, remove_incomplete
from cloob.download.fetch.part import fetch_part
from cloob.download.fetch.round import FetchOptions, ImageOptions, _run_img2dataset
from cloob.download.ledger import SCHEMA
from tests.helpers.process_endings import process_tree
from tests.helpers.recording_server import (
    RecordingServer,
    fetch_flags,
    guard_allowing,
    random_jpeg,
    read_rows,
)

IMAGE_OPTIONS = ImageOptions(
    image_size=128, quality=90, max_aspect_ratio=3.0, min_size=16, samples_per_tar=20
)
FETCH_OPTIONS = FetchOptions(
    user_agent="cloob-tests",
    requests_per_second=1000,
    timeout=6,
    retries=0,
    retry_rounds=2,
    seconds_between_rounds=1,
    processes=1,
    threads=8,
)
NUM_GOOD = 45

# Content of the file (None: no file), URL, expected outcome, and expected number of requests (None: any).
SPECIAL_CASES = [
    (None, "{server}/gone.jpg", "http_404", 1),
    (None, "{server}/always/403/1.jpg", "http_403", 1),
    (None, "{server}/always/410/1.jpg", "http_410", 1),
    (None, "{server}/stall/1.jpg", "timeout", 2),
    (None, "{server}/loop/1", "redirect_loop", None),
    (None, "http://127.0.0.1:1/1.jpg", "forbidden_address", 0),
    (None, "http://nobody.invalid/1.jpg", "dns", 0),
    (b"<!DOCTYPE html><p>an image?", "{server}/page.jpg", "not_an_image", 1),
    (random_jpeg(1)[:700], "{server}/cut off.jpg", "truncated_image", 1),
    (b"", "{server}/empty.jpg", "empty_file", 1),
    (random_jpeg(2, 90, 29), "{server}/panorama.jpg", "aspect_ratio", 1),
    (random_jpeg(3, 1, 1), "{server}/dot.jpg", "too_small", 1),
    (random_jpeg(4, 90, 30), "{server}/just.jpg", "kept", 1),
    (random_jpeg(5, 300, 150), "{server}/large.jpg", "kept", 1),
    (random_jpeg(6), "{server}/redirect/grüße 1.jpg", "kept", 1),
    (None, "{server}/first/503/just.jpg", "kept", 2),
    (None, "{server}/first/429/large.jpg", "kept", 2),
]
TRANSIENT = {"timeout", "dns"}


@dataclass(frozen=True)
class ResumedDownload:
    """A URL table, the result of a killed and a resumed download, and the requests per path."""

    url_table: Path
    folder: Path
    ledger: Path
    requests: Counter[str]

    def rows(self) -> list[dict]:
        """The ledger, each row with the caption of its URL."""
        rows = pq.read_table(self.ledger).to_pylist()
        urls = read_rows(self.url_table)
        return [row | {"caption": url["caption"]} for row, url in zip(rows, urls, strict=True)]

    def content(self, row: dict) -> bytes:
        """The bytes of a kept row, read as later stages do."""
        with (self.ledger.parent / row["tar"]).open("rb") as tar:
            tar.seek(row["offset"])
            return tar.read(row["length"])


def semaphores_of(pids: list[int]) -> Iterator[Path]:
    """The files of the semaphores that downloads with these process ids have created."""
    for pid in pids:
        yield from Path("/dev/shm").glob(f"sem.cloob-{pid}-*")


@pytest.fixture(scope="module")
def resumed(website: RecordingServer, tmp_path_factory: pytest.TempPathFactory) -> ResumedDownload:
    """Four tars of URLs, the special cases in the middle; killed after the first tar, and resumed.

    In a folder in whose path img2dataset's file system would see patterns and protocols.
    """
    folder = tmp_path_factory.mktemp("resumed") / "a [1] * {b} ::file:: c?"
    folder.mkdir()
    rows = []
    for number in range(NUM_GOOD):
        (website.root / f"{number}.jpg").write_bytes(random_jpeg(100 + number))
        rows.append(f"number {number} – „gut“\t{website.url}/{number}.jpg")
    for content, url, outcome, _ in SPECIAL_CASES:
        if content is not None:
            name = url.removeprefix("{server}/").removeprefix("redirect/")
            (website.root / name).write_bytes(content)
        rows.insert(25, f"{outcome}\t{url.format(server=website.url)}")
    (folder / "list.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    url_table, part, ledger = folder / "urls.parquet", folder / "0000", folder / "0000_ledger.parquet"
    conceptual_captions.read(url_table, folder / "urls_outcomes.csv", folder / "list.tsv")
    guard = guard_allowing(website)
    command = [sys.executable, "-m", "cloob", "download", "fetch", "--urls", url_table]
    command += ["--part", "0", "--num-parts", "1", "--folder", part, "--ledger", ledger]
    command += fetch_flags(IMAGE_OPTIONS, FETCH_OPTIONS, guard)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 120
        while not read_completed_tars(part / "round_0", {}):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        semaphores = [*semaphores_of(process_tree(first.pid))]
        first.send_signal(signal.SIGKILL)
    assert not ledger.exists()
    time.sleep(0.5)
    assert semaphores and not any(path.exists() for path in semaphores)
    num_requests = len(website.requests)
    time.sleep(1)
    assert len(website.requests) == num_requests, "img2dataset outlived its parent"
    # URLs of incomplete tars are requested again, so requests before the kill count only for completed ones.
    completed = {
        row["uid"] for table in read_completed_tars(part / "round_0", {}) for row in table.to_pylist()
    }
    before = Counter(website.requests)
    website.failed_once.clear()
    paths = {url["uid"]: url["url"].removeprefix(website.url) for url in read_rows(url_table)}
    fetch_part(url_table, 0, 1, part, ledger, IMAGE_OPTIONS, FETCH_OPTIONS, guard)
    requests = Counter(website.requests)
    for uid, path in paths.items():
        if uid not in completed:
            requests[path] -= before[path]
    return ResumedDownload(url_table, part, ledger, requests)


def fetch_again(
    resumed: ResumedDownload, folder: Path, ledger: Path, part: int = 0, num_parts: int = 1
) -> Counter[str]:
    """Download a part of the same URL table without access to the server."""
    options = IMAGE_OPTIONS, FETCH_OPTIONS, guard_allowing()
    return fetch_part(resumed.url_table, part, num_parts, folder, ledger, *options)


def test_every_url_has_exactly_one_outcome(resumed: ResumedDownload) -> None:
    expected = Counter(outcome for _, _, outcome, _ in SPECIAL_CASES)
    expected["kept"] += NUM_GOOD
    rows = resumed.rows()
    assert Counter(row["outcome"] for row in rows) == expected
    assert [row["uid"] for row in rows] == [url["uid"] for url in read_rows(resumed.url_table)]
    for row in rows:
        assert row["outcome"] == ("kept" if row["caption"].startswith("number") else row["caption"])


def test_a_resumed_download_requests_no_completed_url_again(resumed: ResumedDownload) -> None:
    assert [resumed.requests[f"/{number}.jpg"] for number in range(NUM_GOOD)] == [1] * NUM_GOOD


def test_only_transient_failures_are_retried(resumed: ResumedDownload) -> None:
    for _, url, outcome, num_requests in SPECIAL_CASES:
        if num_requests is not None:
            path = url.removeprefix("{server}").replace("cut off", "cut%20off")
            path = path.replace("grüße 1", "gr%C3%BC%C3%9Fe%201")
            assert resumed.requests[path] == num_requests, (url, outcome)


def test_the_ledger_has_the_round_that_produced_the_outcome_and_the_http_status(
    resumed: ResumedDownload,
) -> None:
    assert pq.read_schema(resumed.ledger).equals(SCHEMA)
    retried = {f"/first/{status}/" for status in (503, 429)}
    for row, url in zip(resumed.rows(), read_rows(resumed.url_table), strict=True):
        in_second_round = row["outcome"] in TRANSIENT or any(path in url["url"] for path in retried)
        assert row["round"] == int(in_second_round), row
        status = {"timeout": None, "dns": None, "forbidden_address": None, "redirect_loop": 302}
        http = row["outcome"].removeprefix("http_")
        assert row["http_status"] == (int(http) if http.isdigit() else status.get(row["outcome"], 200))


def test_the_ledger_locates_the_stored_bytes_and_has_their_hash(resumed: ResumedDownload) -> None:
    kept = [row for row in resumed.rows() if row["outcome"] == "kept"]
    assert all(sha256(resumed.content(row)).hexdigest() == row["sha256"] for row in kept)
    locations = [(row["tar"], row["offset"]) for row in kept]
    assert len(set(locations)) == len(locations) == NUM_GOOD + 5
    for row in resumed.rows():
        assert (row["outcome"] == "kept") == (row["sha256"] is not None) == (row["tar"] is not None)
        assert (row["tar"] is None) == (row["offset"] is None) == (row["length"] is None)


def test_small_images_keep_their_bytes_and_large_ones_are_scaled_down(resumed: ResumedDownload) -> None:
    content = {row["caption"]: resumed.content(row) for row in resumed.rows() if row["outcome"] == "kept"}
    assert content["number 7 – „gut“"] == random_jpeg(107)
    sizes = {Image.open(io.BytesIO(image)).size for image in content.values()}
    assert max(max(size) for size in sizes) <= IMAGE_OPTIONS.image_size


def test_a_finished_download_requests_nothing(resumed: ResumedDownload, website: RecordingServer) -> None:
    num_requests, ledger, start = len(website.requests), resumed.ledger.read_bytes(), time.monotonic()
    other_options = replace(FETCH_OPTIONS, timeout=9, requests_per_second=1, threads=1)
    options = IMAGE_OPTIONS, other_options, guard_allowing()
    fetch_part(resumed.url_table, 0, 1, resumed.folder, resumed.ledger, *options)
    assert len(website.requests) == num_requests
    assert time.monotonic() - start < 5, "img2dataset was started without need"
    assert resumed.ledger.read_bytes() == ledger


def test_incomplete_tars_are_ignored_and_removed(resumed: ResumedDownload, tmp_path: Path) -> None:
    for file in (resumed.folder / "round_0").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    completed = {}
    assert len(read_completed_tars(tmp_path, completed)) == len(completed) == 4
    (tmp_path / "00000_stats.json").write_text("{", encoding="utf-8")
    (tmp_path / "00001.parquet").write_bytes(b"PAR1")
    # Truncated within the last image, and at the end of a tar block after the first.
    tar = (tmp_path / "00002.tar").read_bytes()
    (tmp_path / "00002.tar").write_bytes(tar[: len(tar) - 15_000])
    tar = (tmp_path / "00003.tar").read_bytes()
    (tmp_path / "00003.tar").write_bytes(tar[: 10 * 512])
    completed = {}
    assert read_completed_tars(tmp_path, completed) == []
    remove_incomplete(tmp_path, completed)
    assert [file.name for file in tmp_path.iterdir()] == ["fingerprint.txt"]


def test_output_is_checked_once_more_after_img2dataset_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job").write_text("#!/bin/sh\nsleep 1.3\n")
    (tmp_path / "job").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "job"))
    checks = _run_img2dataset({}, tmp_path / "log")
    next(checks)
    time.sleep(1)  # a slow check, during which the job ends
    next(checks)


def test_another_fingerprint_empties_the_output_folder(tmp_path: Path) -> None:
    (tmp_path / ".fingerprint.17.txt").touch()  # left behind by a process killed while writing it
    assert prepare_output_dir(tmp_path, "one") is False
    (tmp_path / "00000_stats.json").touch()
    (tmp_path / "_tmp").mkdir()
    assert prepare_output_dir(tmp_path, "one") is True
    assert (tmp_path / "00000_stats.json").exists()
    assert prepare_output_dir(tmp_path, "another") is False
    assert [file.name for file in tmp_path.iterdir()] == ["fingerprint.txt"]


def test_files_that_no_download_has_written_are_never_deleted(
    resumed: ResumedDownload, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".profile").touch()
    (home / "round_0").mkdir()
    (home / "round_0" / "thesis.tex").touch()
    with pytest.raises(InputError, match="empty it or name another"):
        fetch_again(resumed, home, tmp_path / "ledger.parquet")
    assert (home / ".profile").exists() and (home / "round_0" / "thesis.tex").exists()


def test_a_part_that_does_not_exist_or_a_distant_ledger_is_an_error(
    resumed: ResumedDownload, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the last of 3 parts is 2"):
        fetch_again(resumed, tmp_path / "3", tmp_path / "3.parquet", part=3, num_parts=3)
    with pytest.raises(InputError, match="must be next to"):
        fetch_again(resumed, tmp_path / "0", tmp_path / "x" / "0.parquet")


def test_a_part_without_urls_has_an_empty_ledger(resumed: ResumedDownload, tmp_path: Path) -> None:
    num_parts = len(read_rows(resumed.url_table)) + 1
    assert fetch_again(resumed, tmp_path / "0", tmp_path / "0.parquet", num_parts=num_parts) == {}
    assert pq.read_table(tmp_path / "0.parquet").schema.equals(SCHEMA)
