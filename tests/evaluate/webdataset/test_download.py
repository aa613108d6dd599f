"""Downloading a webdataset folder: base URLs, resuming, limits, and checksums from git-lfs pointers."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.evaluate.webdataset.download import RemoteFolder, download_webdataset
from tests.helpers.range_server import RangeServer, ServedFile
from tests.helpers.webdataset_folders import serve, write_classification

BASE = "datasets/somebody/wds_colors"


@pytest.fixture
def web() -> Iterator[RangeServer]:
    with RangeServer() as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_classification(tmp_path / "source", ["a", "b"], ["a {c}."], test=[0, 1, 0], train=[1])


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_text_files_and_tars_of_the_splits_are_downloaded(web, source: Path, tmp_path: Path) -> None:
    serve(web, source, "mirror/colors")
    remote = RemoteFolder(web.url_of("mirror/colors/"), 100_000)
    download_webdataset(remote, ["test"], tmp_path / "only_test")
    expected = {name: data for name, data in contents(source).items() if not name.startswith("train")}
    assert contents(tmp_path / "only_test") == expected
    assert contents(download_webdataset(remote, ["test", "train"], tmp_path / "all")) == contents(source)


def test_second_attempt_resumes_the_download(web, source: Path, tmp_path: Path) -> None:
    serve(web, source, "colors")
    interrupted = web.files["colors/test/1.tar"]
    interrupted.cuts, interrupted.statuses = [600], []
    web.files["colors/train/0.tar"].statuses = [403]
    remote = RemoteFolder(web.url_of("colors"), 100_000)
    with pytest.raises(InputError, match=r"train/0.tar: the server responded 403"):
        download_webdataset(remote, ["test", "train"], tmp_path / "out")
    assert interrupted.requested_ranges == ["", "bytes=600-"]
    download_webdataset(remote, ["test", "train"], tmp_path / "out")
    assert len(interrupted.requested_ranges) == 2
    assert contents(tmp_path / "out") == contents(source)


def test_folder_of_the_hub_is_verified_by_its_pointers(web, source: Path, tmp_path: Path) -> None:
    serve(web, source, f"{BASE}/resolve/main")
    tar = (source / "test" / "0.tar").read_bytes()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 1\n"
    path = f"{BASE}/raw/main/test/0.tar"
    web.files[path] = ServedFile(pointer.format(hashlib.sha256(tar).hexdigest()).encode())
    remote = RemoteFolder(web.url_of(f"{BASE}/tree/main"), 100_000)
    download_webdataset(remote, ["test"], tmp_path / "out")
    assert (tmp_path / "out" / "test" / "0.tar").read_bytes() == tar
    web.files[path] = ServedFile(pointer.format("0" * 64).encode())
    with pytest.raises(InputError, match=r"resolve/main/test/0.tar: its sha256 is .*, expected 000"):
        download_webdataset(remote, ["test"], tmp_path / "other")
    assert not (tmp_path / "other" / "test" / "0.tar").exists()


def test_tar_is_not_accepted_unverified_if_its_pointer_is_refused(
    web, source: Path, tmp_path: Path, capsys
) -> None:
    serve(web, source, f"{BASE}/resolve/main")
    serve(web, source, f"{BASE}/raw/main")  # too large to be pointers
    web.files[f"{BASE}/raw/main/test/1.tar"] = ServedFile(b"no pointer")
    web.files[f"{BASE}/raw/main/test/0.tar"].statuses = [403]
    remote = RemoteFolder(web.url_of(f"{BASE}/tree/main"), 100_000)
    with pytest.raises(InputError, match=r"raw/main/test/0.tar: the server responded 403"):
        download_webdataset(remote, ["test"], tmp_path / "out")
    assert not (tmp_path / "out" / "test" / "0.tar").exists()
    download_webdataset(remote, ["test"], tmp_path / "out")
    unverified = [line for line in capsys.readouterr().err.splitlines() if "not verified" in line]
    assert len([line for line in unverified if "/resolve/main/test/" in line and ".tar: " in line]) == 2
    assert not [line for line in unverified if "/raw/" in line]


def test_all_files_together_are_limited(web, source: Path, tmp_path: Path) -> None:
    serve(web, source, "colors")
    size = (source / "test" / "0.tar").stat().st_size
    with pytest.raises(InputError, match=r"test/1.tar: more than the allowed .*raise max_bytes"):
        download_webdataset(RemoteFolder(web.url_of("colors"), size + 200), ["test"], tmp_path / "out")


def test_url_that_is_not_such_a_folder_is_reported(web, tmp_path: Path) -> None:
    web.files["other/classnames.txt"] = ServedFile(b"a\n")
    remote = RemoteFolder(web.url_of("other"), 100_000)
    with pytest.raises(InputError, match=r"test/nshards.txt: .* 404 .* not the base URL .*; correct the URL"):
        download_webdataset(remote, ["test"], tmp_path / "out")
    web.files["other/test/nshards.txt"] = ServedFile(b"1000000000")
    with pytest.raises(InputError, match="'1000000000' is not a number of tars"):
        download_webdataset(remote, ["test"], tmp_path / "out")


def test_files_of_another_url_are_replaced_once_the_url_is_corrected(
    web, source: Path, tmp_path: Path, capsys
) -> None:
    serve(web, write_classification(tmp_path / "wrong", ["x"], ["a {c}."], test=[0, 0, 0]), "wrong")
    serve(web, source, f"{BASE}/resolve/main")
    download_webdataset(RemoteFolder(web.url_of("wrong"), 100_000), ["test"], tmp_path / "out")
    for form in ("tree", "resolve"):  # two forms of one URL
        remote = RemoteFolder(web.url_of(f"{BASE}/{form}/main"), 100_000)
        download_webdataset(remote, ["test", "train"], tmp_path / "out")
    assert contents(tmp_path / "out") == contents(source)
    assert len(web.files[f"{BASE}/resolve/main/test/0.tar"].requested_ranges) == 1
    assert capsys.readouterr().out.count("deleted its files, which are not from http") == 1


def test_files_of_unknown_origin_are_neither_used_nor_deleted(web, source: Path, tmp_path: Path) -> None:
    before = contents(source)
    with pytest.raises(InputError, match=r"source: has files, but no record of the URL .*; delete the"):
        download_webdataset(RemoteFolder(web.url_of("colors"), 100_000), ["test"], source)
    assert contents(source) == before
