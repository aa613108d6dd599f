"""The real img2dataset against a real server, killed half-way and started again."""

import io
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from served import RememberingServer, guard, jpeg, rows_of

from cloob.download.cc import read_cc
from cloob.download.fates import read_fates, write_fates
from cloob.download.fetch import Effort, Images, fetch
from cloob.download.folder import claim, whole_parts
from cloob.errors import InputError

PER_SHARD = 20
IMAGES = Images(
    image_size=128, quality=90, maximum_aspect_ratio=3.0, minimum_size=16, samples_per_shard=PER_SHARD
)
EFFORT = Effort(timeout=1, retries=0, processes=1, threads=8)

# The file behind a link (None: there is none), the link, and what must become of it.
FAULTS = [
    (None, "{address}/gone.jpg", "http_404"),
    (None, "{address}/stall/1.jpg", "timeout"),
    (None, "{address}/loop/1", "redirect_loop"),
    (None, "http://127.0.0.1:1/1.jpg", "forbidden_address"),
    (None, "http://nobody.invalid/1.jpg", "dns"),
    (b"<!DOCTYPE html><p>an image?", "{address}/page.jpg", "not_an_image"),
    (jpeg(1)[:700], "{address}/cut off.jpg", "not_an_image"),
    (b"", "{address}/empty.jpg", "empty_file"),
    (jpeg(2, 90, 29), "{address}/panorama.jpg", "aspect_ratio"),
    (jpeg(3, 1, 1), "{address}/dot.jpg", "too_small"),
    (jpeg(4, 90, 30), "{address}/just.jpg", "kept"),
    (jpeg(5, 300, 150), "{address}/large.jpg", "kept"),
    (jpeg(6), "{address}/redirect/grüße 1.jpg", "kept"),
]


@pytest.fixture(scope="module")
def links(website: RememberingServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of links: good ones, the faults, good ones."""
    folder = tmp_path_factory.mktemp("links")
    rows = []
    for number in range(45):
        (website.root / f"{number}.jpg").write_bytes(jpeg(100 + number))
        rows.append(f"number {number} – „gut“\t{website.address}/{number}.jpg")
    for content, link, fate in FAULTS:
        if content is not None:
            name = link.removeprefix("{address}/").removeprefix("redirect/")
            (website.root / name).write_bytes(content)
        rows.insert(25, f"{fate}\t{link.format(address=website.address)}")
    list_file = folder / "list.tsv"
    list_file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    read_cc(list_file, folder / "links.parquet", folder / "links_fates.csv")
    return folder / "links.parquet"


@pytest.fixture(scope="module")
def images(links: Path, website: RememberingServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after a fetch that was killed when its first shard was whole, and a second one."""
    folder = tmp_path_factory.mktemp("fetched") / "images"
    fates = folder.with_name("images_fates.csv")
    command = [sys.executable, "-m", "cloob", "download", "fetch"]
    for name, value in {
        "links": links,
        "images": folder,
        "fates": fates,
        "image-size": IMAGES.image_size,
        "quality": IMAGES.quality,
        "maximum-aspect-ratio": IMAGES.maximum_aspect_ratio,
        "minimum-size": IMAGES.minimum_size,
        "samples-per-shard": IMAGES.samples_per_shard,
        "timeout": EFFORT.timeout,
        "retries": EFFORT.retries,
        "processes": EFFORT.processes,
        "threads": EFFORT.threads,
        "allowed-addresses": guard(website).allowed[0],
        "maximum-bytes": guard().maximum_bytes,
        "maximum-pixels": guard().maximum_pixels,
        "maximum-seconds": int(guard().maximum_seconds),
    }.items():
        command += [f"--{name}", str(value)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 120
        while not (folder.exists() and whole_parts(folder)):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
    assert not fates.exists()
    time.sleep(0.5)
    quiet = len(website.asked)
    time.sleep(1)
    assert len(website.asked) == quiet, "img2dataset outlived its parent"
    fetch(links, folder, fates, IMAGES, EFFORT, guard(website))
    return folder


def samples(images: Path) -> dict[str, bytes]:
    """Caption -> image bytes of everything in the tars."""
    found = {}
    for part in whole_parts(images):
        with tarfile.open(part.tar) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        for name, content in files.items():
            if name.endswith(".txt"):
                found[content.decode()] = files[name.replace(".txt", ".jpg")]
    return found


def test_every_link_ends_in_exactly_one_fate(links: Path, images: Path) -> None:
    wanted = Counter(fate for *_, fate in FAULTS)
    wanted["kept"] += 45
    fates = read_fates(images.with_name("images_fates.csv"))
    assert fates == wanted
    assert (
        sum(fates.values()) == len(rows_of(links)) == read_fates(links.with_name("links_fates.csv"))["kept"]
    )


def test_an_interrupted_fetch_goes_on_without_asking_twice(images: Path, website: RememberingServer) -> None:
    asked = Counter(website.asked)
    first_shard = [f"/{number}.jpg" for number in range(PER_SHARD)]
    assert [asked[path] for path in first_shard] == [1] * PER_SHARD


def test_every_image_is_there_once(links: Path, images: Path) -> None:
    tables = [pq.read_table(part.table) for part in whole_parts(images)]
    uids = [uid for table in tables for uid in table["uid"].to_pylist()]
    assert sorted(uids) == [link["uid"] for link in rows_of(links)]
    assert len(samples(images)) == 45 + 1  # the three kept among the faults share a caption


def test_small_images_keep_their_bytes_and_large_ones_fit(images: Path, tmp_path: Path) -> None:
    found = samples(images)
    assert found["number 7 – „gut“"] == jpeg(107)
    sizes = {image.size for image in map(open_image, found.values())}
    assert max(max(size) for size in sizes) <= IMAGES.image_size


def open_image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_a_finished_fetch_asks_for_nothing(
    links: Path, images: Path, website: RememberingServer, tmp_path: Path
) -> None:
    asked = len(website.asked)
    began = time.monotonic()
    fetch(links, images, tmp_path / "fates.csv", IMAGES, replace(EFFORT, timeout=9), guard())
    assert len(website.asked) == asked
    assert time.monotonic() - began < 2, "img2dataset was started for nothing"
    assert read_fates(tmp_path / "fates.csv") == read_fates(images.with_name("images_fates.csv"))


def test_only_whole_shards_count(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for file in images.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "00000_stats.json").write_text("{", encoding="utf-8")
    (folder / "00001.parquet").write_bytes(b"PAR1")
    (folder / "00002.tar").write_bytes(b"")
    assert len(whole_parts(images)) == 3
    assert whole_parts(folder) == []


def test_other_links_begin_afresh(tmp_path: Path) -> None:
    assert claim(tmp_path, "one") is False
    (tmp_path / "00000_stats.json").touch()
    (tmp_path / "_tmp").mkdir()
    assert claim(tmp_path, "one") is True
    assert (tmp_path / "00000_stats.json").exists()
    assert claim(tmp_path, "another") is False
    assert [file.name for file in tmp_path.iterdir()] == ["fingerprint.txt"]


def test_a_folder_of_somebody_else_is_never_wiped(links: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="empty it or name another"):
        fetch(links, tmp_path, tmp_path / "fates.csv", IMAGES, EFFORT, guard())
    assert (tmp_path / "thesis.tex").exists()


def test_books_that_do_not_balance_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 rows came in, 2 have a fate"):
        write_fates(tmp_path / "fates.csv", {"kept": 1, "timeout": 1}, total=3)
    assert not (tmp_path / "fates.csv").exists()
