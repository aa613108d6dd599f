"""The real img2dataset against a real server, killed half-way and started again."""

import io
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from cloob.common.accounting import read_outcomes, write_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora.conceptual_captions import read as read_conceptual_captions
from cloob.download.fetch.completed_tars import prepare_output_dir, read_completed_tars, remove_incomplete
from cloob.download.fetch.part import fetch_part
from cloob.download.fetch.round import FetchOptions, ImageOptions, _run_img2dataset
from cloob.download.ledger import SCHEMA
from tests.helpers.served_parts import RememberingServer, flags_of, guard, jpeg, rows_of

PER_TAR = 20
IMAGES = ImageOptions(image_size=128, quality=90, max_aspect_ratio=3.0, min_size=16, samples_per_tar=PER_TAR)
EFFORT = FetchOptions(
    user_agent="cloob-tests",
    requests_per_second=1000,
    timeout=6,
    retries=0,
    rounds=2,
    seconds_between_rounds=1,
    processes=1,
    threads=8,
)

# The file behind a link (None: there is none), the link, and what must become of it, after how many requests.
FAULTS = [
    (None, "{address}/gone.jpg", "http_404", 1),
    (None, "{address}/always/403/1.jpg", "http_403", 1),
    (None, "{address}/always/410/1.jpg", "http_410", 1),
    (None, "{address}/stall/1.jpg", "timeout", 2),
    (None, "{address}/loop/1", "redirect_loop", None),
    (None, "http://127.0.0.1:1/1.jpg", "forbidden_address", 0),
    (None, "http://nobody.invalid/1.jpg", "dns", 0),
    (b"<!DOCTYPE html><p>an image?", "{address}/page.jpg", "not_an_image", 1),
    (jpeg(1)[:700], "{address}/cut off.jpg", "truncated_image", 1),
    (b"", "{address}/empty.jpg", "empty_file", 1),
    (jpeg(2, 90, 29), "{address}/panorama.jpg", "aspect_ratio", 1),
    (jpeg(3, 1, 1), "{address}/dot.jpg", "too_small", 1),
    (jpeg(4, 90, 30), "{address}/just.jpg", "kept", 1),
    (jpeg(5, 300, 150), "{address}/large.jpg", "kept", 1),
    (jpeg(6), "{address}/redirect/grüße 1.jpg", "kept", 1),
    (None, "{address}/first/503/just.jpg", "kept", 2),
    (None, "{address}/first/429/large.jpg", "kept", 2),
]
TRANSIENT = {"timeout", "dns"}


@dataclass(frozen=True)
class Fetched:
    """A list of links, what a killed fetch and the next one made of it, and how often each was asked for."""

    links: Path
    folder: Path
    ledger: Path
    asked: Counter[str]

    def rows(self) -> list[dict]:
        """The ledger, each row with the caption of its link."""
        rows = pq.read_table(self.ledger).to_pylist()
        return [
            row | {"caption": link["caption"]} for row, link in zip(rows, rows_of(self.links), strict=True)
        ]

    def content(self, row: dict) -> bytes:
        """The bytes of a kept row, read as a later stage would."""
        with (self.ledger.parent / row["tar"]).open("rb") as tar:
            tar.seek(row["offset"])
            return tar.read(row["length"])


@pytest.fixture(scope="module")
def fetched(website: RememberingServer, tmp_path_factory: pytest.TempPathFactory) -> Fetched:
    """Four tars of links: good ones, the faults, good ones; killed when the first was whole, and gone on.

    In a folder in whose path img2dataset's file system would see patterns and a chain of protocols.
    """
    folder = tmp_path_factory.mktemp("fetched") / "a [1] * {b} ::file:: c?"
    folder.mkdir()
    rows = []
    for number in range(45):
        (website.root / f"{number}.jpg").write_bytes(jpeg(100 + number))
        rows.append(f"number {number} – „gut“\t{website.address}/{number}.jpg")
    for content, link, outcome, _ in FAULTS:
        if content is not None:
            name = link.removeprefix("{address}/").removeprefix("redirect/")
            (website.root / name).write_bytes(content)
        rows.insert(25, f"{outcome}\t{link.format(address=website.address)}")
    (folder / "list.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    links, part, ledger = folder / "urls.parquet", folder / "0000", folder / "0000_ledger.parquet"
    read_cc(folder / "list.tsv", links, folder / "urls_outcomes.csv")
    command = [sys.executable, "-m", "cloob", "download", "fetch", *flags_of(IMAGES, EFFORT, guard(website))]
    command += ["--urls", links, "--part", "0", "--num-parts", "1", "--folder", part, "--ledger", ledger]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 120
        while not read_completed_tars(part / "round_0", {}):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
    assert not ledger.exists()
    time.sleep(0.5)
    quiet = len(website.asked)
    time.sleep(1)
    assert len(website.asked) == quiet, "img2dataset outlived its parent"
    # What was under way when it was killed is asked for again; what is counted here was not.
    held = {row["uid"] for table in read_completed_tars(part / "round_0", {}) for row in table.to_pylist()}
    before = Counter(website.asked)
    website.met.clear()
    paths = {link["uid"]: link["url"].removeprefix(website.address) for link in rows_of(links)}
    fetch(links, 0, 1, part, ledger, IMAGES, EFFORT, guard(website))
    asked = Counter(website.asked)
    for uid, path in paths.items():
        if uid not in held:
            asked[path] -= before[path]
    return Fetched(links, part, ledger, asked)


def test_every_link_ends_in_exactly_one_outcome(fetched: Fetched):
    wanted = Counter(outcome for _, _, outcome, _ in FAULTS)
    wanted["kept"] += 45
    rows = fetched.rows()
    assert Counter(row["outcome"] for row in rows) == wanted
    assert [row["uid"] for row in rows] == [link["uid"] for link in rows_of(fetched.links)]
    for row in rows:
        assert row["outcome"] == ("kept" if row["caption"].startswith("number") else row["caption"])


def test_an_interrupted_fetch_goes_on_without_asking_twice(fetched: Fetched):
    assert [fetched.asked[f"/{number}.jpg"] for number in range(45)] == [1] * 45


def test_only_what_may_pass_is_asked_again(fetched: Fetched):
    for _, link, outcome, requests in FAULTS:
        if requests is not None:
            path = link.removeprefix("{address}").replace("cut off", "cut%20off")
            path = path.replace("grüße 1", "gr%C3%BC%C3%9Fe%201")
            assert fetched.asked[path] == requests, (link, outcome)


def test_the_ledger_tells_which_round_decided_and_what_the_server_said(fetched: Fetched):
    assert pq.read_schema(fetched.ledger).equals(SCHEMA)
    again = {f"/first/{status}/" for status in (503, 429)}
    for row, link in zip(fetched.rows(), rows_of(fetched.links), strict=True):
        second = row["outcome"] in TRANSIENT or any(path in link["url"] for path in again)
        assert row["round"] == int(second), row
        answered = {"timeout": None, "dns": None, "forbidden_address": None, "redirect_loop": 302}
        http = row["outcome"].removeprefix("http_")
        assert row["http_status"] == (int(http) if http.isdigit() else answered.get(row["outcome"], 200))


def test_the_bytes_lie_where_the_ledger_says_and_their_hash_is_of_what_is_kept(fetched: Fetched):
    kept = [row for row in fetched.rows() if row["outcome"] == "kept"]
    assert all(sha256(fetched.content(row)).hexdigest() == row["sha256"] for row in kept)
    places = [(row["tar"], row["offset"]) for row in kept]
    assert len(set(places)) == len(places) == 45 + 5
    for row in fetched.rows():
        assert (row["outcome"] == "kept") == (row["sha256"] is not None) == (row["tar"] is not None)
        assert (row["tar"] is None) == (row["offset"] is None) == (row["length"] is None)


def test_small_images_keep_their_bytes_and_large_ones_fit(fetched: Fetched):
    content = {row["caption"]: fetched.content(row) for row in fetched.rows() if row["outcome"] == "kept"}
    assert content["number 7 – „gut“"] == jpeg(107)
    sizes = {Image.open(io.BytesIO(one)).size for one in content.values()}
    assert max(max(size) for size in sizes) <= IMAGES.image_size


def test_a_finished_fetch_asks_for_nothing(fetched: Fetched, website: RememberingServer, tmp_path: Path):
    asked, ledger, began = len(website.asked), fetched.ledger.read_bytes(), time.monotonic()
    once_more = replace(EFFORT, timeout=9, requests_per_second=1, threads=1)
    fetch(fetched.links, 0, 1, fetched.folder, fetched.ledger, IMAGES, once_more, guard())
    assert len(website.asked) == asked
    assert time.monotonic() - began < 5, "img2dataset was started for nothing"
    assert fetched.ledger.read_bytes() == ledger


def test_only_whole_tars_count(fetched: Fetched, tmp_path: Path):
    for file in (fetched.folder / "round_0").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    whole = {}
    assert len(read_completed_tars(tmp_path, whole)) == len(whole) == 4
    (tmp_path / "00000_stats.json").write_text("{", encoding="utf-8")
    (tmp_path / "00001.parquet").write_bytes(b"PAR1")
    # Cut off within the last image, and at a block's end after the first.
    tar = (tmp_path / "00002.tar").read_bytes()
    (tmp_path / "00002.tar").write_bytes(tar[: len(tar) - 15_000])
    tar = (tmp_path / "00003.tar").read_bytes()
    (tmp_path / "00003.tar").write_bytes(tar[: 10 * 512])
    whole = {}
    assert read_completed_tars(tmp_path, whole) == []
    remove_incomplete(tmp_path, whole)
    assert [file.name for file in tmp_path.iterdir()] == ["fingerprint.txt"]


def test_what_img2dataset_ends_with_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "job").write_text("#!/bin/sh\nsleep 1.3\n")
    (tmp_path / "job").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "job"))
    looks = _img2dataset({}, tmp_path / "log")
    next(looks)
    time.sleep(1)  # a look that takes long; meanwhile it ends
    next(looks)


def test_other_links_begin_afresh(tmp_path: Path):
    (tmp_path / ".fingerprint.17.txt").touch()  # killed as it claimed the folder
    assert claim(tmp_path, "one") is False
    (tmp_path / "00000_stats.json").touch()
    (tmp_path / "_tmp").mkdir()
    assert claim(tmp_path, "one") is True
    assert (tmp_path / "00000_stats.json").exists()
    assert claim(tmp_path, "another") is False
    assert [file.name for file in tmp_path.iterdir()] == ["fingerprint.txt"]


def test_a_folder_of_somebody_else_is_never_wiped(fetched: Fetched, tmp_path: Path):
    thesis = tmp_path / "round_0" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.touch()
    with pytest.raises(InputError, match="empty it or name another"):
        fetch(fetched.links, 0, 1, tmp_path, tmp_path.with_suffix(".parquet"), IMAGES, EFFORT, guard())
    assert thesis.exists()


def test_in_a_folder_of_somebody_else_nothing_is_touched(fetched: Fetched, tmp_path: Path):
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    (tmp_path / "home" / ".profile").touch()
    (tmp_path / "home" / "round_0").mkdir()
    (tmp_path / "home" / "round_0" / "notes").touch()
    with pytest.raises(InputError, match="empty it or name another"):
        ledger = tmp_path / "ledger.parquet"
        fetch(fetched.links, 0, 1, tmp_path / "home", ledger, IMAGES, EFFORT, guard())
    assert (tmp_path / "home" / ".profile").exists()


def test_what_no_part_can_be_is_refused(fetched: Fetched, tmp_path: Path):
    with pytest.raises(InputError, match="of 3 parts the last is 2"):
        fetch(fetched.links, 3, 3, tmp_path / "3", tmp_path / "3.parquet", IMAGES, EFFORT, guard())
    with pytest.raises(InputError, match="must lie beside"):
        fetch(fetched.links, 0, 1, tmp_path / "0", tmp_path / "x" / "0.parquet", IMAGES, EFFORT, guard())


def test_a_part_without_links_has_an_empty_ledger(fetched: Fetched, tmp_path: Path):
    rows = len(rows_of(fetched.links))
    empty = fetch(fetched.links, 0, rows + 1, tmp_path / "0", tmp_path / "0.parquet", IMAGES, EFFORT, guard())
    assert empty == {}
    assert pq.read_table(tmp_path / "0.parquet").schema.equals(SCHEMA)


def test_books_that_do_not_balance_are_an_error(tmp_path: Path):
    with pytest.raises(InputError, match="3 rows came in, 2 have a outcome"):
        write_outcomes(tmp_path / "outcomes.csv", {"kept": 1, "timeout": 1}, total=3)
    assert not (tmp_path / "outcomes.csv").exists()


def test_outcomes_are_read_as_they_were_written(tmp_path: Path):
    write_outcomes(tmp_path / "outcomes.csv", {"timeout": 1, "kept": 2}, total=3)
    assert read_outcomes(tmp_path / "outcomes.csv") == {"kept": 2, "timeout": 1}
