"""One large file: what breaks off is gone on with, and nothing wrong or too large ever has the final name."""

import hashlib
import resource
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloob.cli import main
from cloob.common.errors import InputError
from cloob.common.http_file import RemoteFile, download_file
from tests.helpers.hostile_server import HostileServer, hostile_server
from tests.helpers.range_server import RangeServer, ServedFile

CONTENT = bytes(range(256)) * 40_000  # 10 MB
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture
def web() -> Iterator[RangeServer]:
    with RangeServer() as server:
        yield server


def fetch(web: RangeServer, served: ServedFile, path: Path, maximum: int = 20_000_000, checksum=None) -> None:
    web.files["a.bin"] = served
    download_file(RemoteFile(web.url_of("a.bin"), maximum, checksum), path, timeout=5, pause=0.001)


def left(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


@pytest.mark.parametrize("checksum", [None, SHA256, MD5, SHA256.upper().replace("SHA256", "sha256")])
def test_a_file_is_fetched_and_verified(web, tmp_path: Path, checksum) -> None:
    fetch(web, ServedFile(CONTENT), tmp_path / "a.bin", checksum=checksum)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert left(tmp_path / "a.bin") == ["a.bin"]


def test_what_breaks_off_is_gone_on_with(web, tmp_path: Path) -> None:
    served = ServedFile(CONTENT, cuts=[1_000_000, 0, 3_000_000])
    fetch(web, served, tmp_path / "a.bin", checksum=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert served.requested_ranges == ["", "bytes=1000000-", "bytes=1000000-", "bytes=4000000-"]


def test_a_later_run_goes_on(web, tmp_path: Path) -> None:
    served = ServedFile(CONTENT, cuts=[5_000_000, 0, 0, 0, 0, 0, 0])
    with pytest.raises(InputError, match=r"6 tries failed .*5,000,000 bytes are kept, run again"):
        fetch(web, served, tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()
    later = ServedFile(CONTENT)
    fetch(web, later, tmp_path / "a.bin")
    assert later.requested_ranges == ["bytes=5000000-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_anew(web, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        fetch(web, ServedFile(CONTENT, cuts=[5_000_000, 0, 0, 0, 0, 0, 0]), tmp_path / "a.bin")
    fetch(web, ServedFile(CONTENT[::-1], version='"2"'), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(("checksum", "second"), [(None, ""), (SHA256, "bytes=1000000-")])
def test_without_a_version_only_a_checksum_allows_to_go_on(web, tmp_path: Path, checksum, second) -> None:
    served = ServedFile(CONTENT, version=None, cuts=[1_000_000])
    fetch(web, served, tmp_path / "a.bin", checksum=checksum)
    assert served.requested_ranges == ["", second]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(web, tmp_path: Path) -> None:
    served = ServedFile(CONTENT, ranges=False, cuts=[1_000_000])
    fetch(web, served, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("name", [".a.bin.part", ".a.bin.version"])
def test_what_a_stranger_has_placed_is_not_written_through(web, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / name).symlink_to(tmp_path / "precious")
    fetch(web, ServedFile(CONTENT, ranges=False), tmp_path / "a.bin", checksum=SHA256)
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert left(tmp_path / "a.bin") == ["a.bin", "precious"]


def test_a_server_that_never_gets_further_is_given_up(web, tmp_path: Path) -> None:
    served = ServedFile(CONTENT, ranges=False, cuts=[2_000_000, 1_000_000] * 20)
    with pytest.raises(InputError, match="6 tries failed"):
        fetch(web, served, tmp_path / "a.bin")
    assert len(served.requested_ranges) == 6


def test_a_part_that_is_whole_already_is_taken(web, tmp_path: Path) -> None:
    (tmp_path / ".a.bin.part").write_bytes(CONTENT)
    (tmp_path / ".a.bin.version").write_text('"1"')
    fetch(web, ServedFile(CONTENT), tmp_path / "a.bin", checksum=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(web, tmp_path: Path) -> None:
    (tmp_path / ".a.bin.part").write_bytes(CONTENT + b"more")
    (tmp_path / ".a.bin.version").write_text('"1"')
    fetch(web, ServedFile(CONTENT), tmp_path / "a.bin", checksum=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_busy_servers_are_asked_again(web, tmp_path: Path) -> None:
    fetch(web, ServedFile(CONTENT, statuses=[503, 429, 500]), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("length", [True, False])
def test_what_is_too_large_leaves_nothing(web, tmp_path: Path, length: bool) -> None:
    with pytest.raises(InputError, match=r"more than the 9,999,999 bytes .* raise max_bytes"):
        fetch(web, ServedFile(CONTENT, length=length), tmp_path / "a.bin", maximum=9_999_999)
    assert left(tmp_path / "a.bin") == []


def test_another_file_than_wanted_is_deleted(web, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its sha256 is .* where .* is wanted; it is deleted"):
        fetch(web, ServedFile(CONTENT[:-1]), tmp_path / "a.bin", checksum=SHA256)
    assert left(tmp_path / "a.bin") == []


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_refusal_is_final(web, tmp_path: Path, status: int) -> None:
    served = ServedFile(CONTENT, statuses=[status])
    with pytest.raises(InputError, match=f"the server answers {status}"):
        fetch(web, served, tmp_path / "a.bin")
    assert len(served.requested_ranges) == 1


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.mark.parametrize(
    "what",
    [
        "chunk_size_minus_one",
        "chunk_size_negative",
        "chunk_size_int64_max",
        "chunk_size_of_many_digits",
        "chunk_extensions",
        "trailers",
        "interim",
        "redirect_with_body",
    ],
)
def test_an_answer_without_end_costs_bounded_memory_and_is_requested_once(
    hostile, tmp_path, what: str
) -> None:
    hostile.requests.clear()
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="more than the 20,000,000 bytes that are allowed"):
            source = RemoteFile(f"http://127.0.0.1:{hostile.server_address[1]}/{what}", 20_000_000)
            download_file(source, tmp_path / "a.bin", timeout=5, pause=0.001)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert hostile.requests == [f"/{what}"]
    assert left(tmp_path / "a.bin") == []


@pytest.mark.parametrize("what", ["dripping", "headers", "dripping_chunks", "dripping_trailers"])
def test_a_server_that_drips_is_given_up(hostile, tmp_path: Path, what: str) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"6 tries failed .*answer too slow"):
        source = RemoteFile(f"http://127.0.0.1:{hostile.server_address[1]}/{what}", 20_000_000)
        download_file(source, tmp_path / "a.bin", timeout=0.3, pause=0.001)
    assert time.monotonic() - began < 8


def test_a_chunked_answer_ends_with_its_last_chunk_whatever_its_length_says(hostile, tmp_path: Path) -> None:
    source = RemoteFile(f"http://127.0.0.1:{hostile.server_address[1]}/two_lengths", 20_000_000)
    download_file(source, tmp_path / "a.bin", timeout=5, pause=0.001)
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


@pytest.mark.parametrize("what", ["length_with_sign", "length_of_many_digits", "range_of_unknown_total"])
def test_a_short_answer_is_never_whole_however_its_length_is_written(
    hostile, tmp_path: Path, what: str
) -> None:
    source = RemoteFile(f"http://127.0.0.1:{hostile.server_address[1]}/{what}", 20_000_000)
    with pytest.raises(InputError):
        download_file(source, tmp_path / "a.bin", timeout=5, pause=0.001)
    assert not (tmp_path / "a.bin").exists()


def test_a_success_without_content_is_no_file(hostile, tmp_path: Path) -> None:
    source = RemoteFile(f"http://127.0.0.1:{hostile.server_address[1]}/no_content", 20_000_000)
    with pytest.raises(InputError, match="the server answers 204 No Content, without a file"):
        download_file(source, tmp_path / "a.bin", timeout=5, pause=0.001)
    assert not (tmp_path / "a.bin").exists()


def test_a_disk_that_is_full_is_no_failure_of_the_server(web, tmp_path: Path, monkeypatch) -> None:
    served = ServedFile(CONTENT)
    with file_size_limit(4_000_000), pytest.raises(OSError, match="File too large") as caught:
        fetch(web, served, tmp_path / "a.bin")
    assert caught.value.filename == str(tmp_path / ".a.bin.part")
    assert served.requested_ranges == [""]
    fetch(web, served, tmp_path / "a.bin", checksum=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@contextmanager
def file_size_limit(number: int) -> Iterator[None]:
    """Fail, as a full disk would, whatever makes a file longer (EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_no_redirect_leads_out_of_the_web(web, tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError):
        fetch(web, ServedFile(b"", location=place), tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize(
    ("url", "checksum"),
    [
        ("file:///etc/passwd", None),
        ("http://127.0.0.1/a", "sha256:123"),
        ("http://127.0.0.1/a", f"crc:{'0' * 64}"),
    ],
)
def test_what_is_no_source_is_refused(url: str, checksum) -> None:
    with pytest.raises(InputError, match=r"not an address|is not sha256"):
        RemoteFile(url, 1, checksum)


def test_the_command(web, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    web.files["a.bin"] = ServedFile(CONTENT)
    command = ["download", "file", "--url", web.url_of("a.bin"), "--out", str(tmp_path / "x" / "a.bin")]
    with pytest.raises(SystemExit) as end:
        main([*command, "--max-bytes", "20000000"])
    assert end.value.code == 0
    assert f"found {SHA256}" in capfd.readouterr().err
    assert (tmp_path / "x" / "a.bin").read_bytes() == CONTENT
