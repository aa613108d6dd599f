"""Download of one file: interrupted transfers resume; wrong or oversized files never get the final name."""

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
from tests.helpers.locked_file import locked_elsewhere
from tests.helpers.range_server import RangeServer, ServedFile

CONTENT = bytes(range(256)) * 40_000  # 10 MB
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture
def web() -> Iterator[RangeServer]:
    with RangeServer() as server:
        yield server


def download(
    web: RangeServer, served: ServedFile, path: Path, max_bytes: int = 20_000_000, checksum=None
) -> None:
    web.files["a.bin"] = served
    download_file(RemoteFile(web.url_of("a.bin"), max_bytes, checksum), path, timeout=5, pause=0.001)


def directory_names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


@pytest.mark.parametrize("checksum", [None, SHA256, MD5, SHA256.upper().replace("SHA256", "sha256")])
def test_file_is_downloaded_and_verified(web, tmp_path: Path, checksum) -> None:
    download(web, ServedFile(CONTENT), tmp_path / "a.bin", checksum=checksum)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert directory_names(tmp_path / "a.bin") == ["a.bin"]


def test_interrupted_transfer_resumes_with_a_range_request(web, tmp_path: Path) -> None:
    served = ServedFile(CONTENT, cuts=[1_000_000, 0, 3_000_000])
    download(web, served, tmp_path / "a.bin", checksum=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert served.requested_ranges == ["", "bytes=1000000-", "bytes=1000000-", "bytes=4000000-"]


def test_a_file_that_another_process_is_downloading_is_left_alone(web, tmp_path: Path) -> None:
    partial = tmp_path / ".a.bin.part"
    partial.write_bytes(CONTENT[:1000])
    with locked_elsewhere(partial), pytest.raises(InputError, match="in use by another process"):
        download(web, ServedFile(CONTENT), tmp_path / "a.bin", checksum=SHA256)
    assert partial.read_bytes() == CONTENT[:1000]
    download(web, ServedFile(CONTENT), tmp_path / "a.bin", checksum=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_later_run_resumes_the_partial_file(web, tmp_path: Path) -> None:
    served = ServedFile(CONTENT, cuts=[5_000_000, 0, 0, 0, 0, 0, 0])
    with pytest.raises(InputError, match=r"6 attempts failed .*5,000,000 bytes are saved, run again"):
        download(web, served, tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()
    later = ServedFile(CONTENT)
    download(web, later, tmp_path / "a.bin")
    assert later.requested_ranges == ["bytes=5000000-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_changed_file_is_downloaded_from_the_start(web, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        download(web, ServedFile(CONTENT, cuts=[5_000_000, 0, 0, 0, 0, 0, 0]), tmp_path / "a.bin")
    download(web, ServedFile(CONTENT[::-1], version='"2"'), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(("checksum", "second_range"), [(None, ""), (SHA256, "bytes=1000000-")])
def test_without_a_version_only_a_checksum_permits_resuming(
    web, tmp_path: Path, checksum, second_range
) -> None:
    served = ServedFile(CONTENT, version=None, cuts=[1_000_000])
    download(web, served, tmp_path / "a.bin", checksum=checksum)
    assert served.requested_ranges == ["", second_range]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_server_without_range_support_restarts_the_download(web, tmp_path: Path) -> None:
    served = ServedFile(CONTENT, ranges=False, cuts=[1_000_000])
    download(web, served, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("name", [".a.bin.part", ".a.bin.version"])
def test_planted_symbolic_links_are_not_followed(web, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / name).symlink_to(tmp_path / "precious")
    download(web, ServedFile(CONTENT, ranges=False), tmp_path / "a.bin", checksum=SHA256)
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert directory_names(tmp_path / "a.bin") == ["a.bin", "precious"]


def test_download_without_progress_fails_after_six_attempts(web, tmp_path: Path) -> None:
    served = ServedFile(CONTENT, ranges=False, cuts=[2_000_000, 1_000_000] * 20)
    with pytest.raises(InputError, match="6 attempts failed"):
        download(web, served, tmp_path / "a.bin")
    assert len(served.requested_ranges) == 6


def test_complete_partial_file_is_used(web, tmp_path: Path) -> None:
    (tmp_path / ".a.bin.part").write_bytes(CONTENT)
    (tmp_path / ".a.bin.version").write_text('"1"')
    download(web, ServedFile(CONTENT), tmp_path / "a.bin", checksum=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_partial_file_longer_than_the_file_is_discarded(web, tmp_path: Path) -> None:
    (tmp_path / ".a.bin.part").write_bytes(CONTENT + b"more")
    (tmp_path / ".a.bin.version").write_text('"1"')
    download(web, ServedFile(CONTENT), tmp_path / "a.bin", checksum=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_transient_server_errors_are_retried(web, tmp_path: Path) -> None:
    download(web, ServedFile(CONTENT, statuses=[503, 429, 500]), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("length", [True, False])
def test_oversized_file_leaves_nothing(web, tmp_path: Path, length: bool) -> None:
    with pytest.raises(InputError, match=r"more than the allowed 9,999,999 bytes .* raise max_bytes"):
        download(web, ServedFile(CONTENT, length=length), tmp_path / "a.bin", max_bytes=9_999_999)
    assert directory_names(tmp_path / "a.bin") == []


def test_file_with_wrong_checksum_is_deleted(web, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its sha256 is .*, expected .*; deleted"):
        download(web, ServedFile(CONTENT[:-1]), tmp_path / "a.bin", checksum=SHA256)
    assert directory_names(tmp_path / "a.bin") == []


@pytest.mark.parametrize("status", [404, 403, 410])
def test_permanent_http_errors_are_not_retried(web, tmp_path: Path, status: int) -> None:
    served = ServedFile(CONTENT, statuses=[status])
    with pytest.raises(InputError, match=f"the server responded {status}"):
        download(web, served, tmp_path / "a.bin")
    assert len(served.requested_ranges) == 1


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.mark.parametrize(
    "endpoint",
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
def test_endless_response_uses_bounded_memory_and_is_not_retried(hostile, tmp_path, endpoint: str) -> None:
    hostile.requests.clear()
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="more than the allowed 20,000,000 bytes"):
            source = RemoteFile(f"http://127.0.0.1:{hostile.server_address[1]}/{endpoint}", 20_000_000)
            download_file(source, tmp_path / "a.bin", timeout=5, pause=0.001)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert hostile.requests == [f"/{endpoint}"]
    assert directory_names(tmp_path / "a.bin") == []


@pytest.mark.parametrize("endpoint", ["dripping", "headers", "dripping_chunks", "dripping_trailers"])
def test_too_slow_response_fails(hostile, tmp_path: Path, endpoint: str) -> None:
    started = time.monotonic()
    with pytest.raises(InputError, match=r"6 attempts failed .*response too slow"):
        source = RemoteFile(f"http://127.0.0.1:{hostile.server_address[1]}/{endpoint}", 20_000_000)
        download_file(source, tmp_path / "a.bin", timeout=0.3, pause=0.001)
    assert time.monotonic() - started < 8


def test_chunked_response_ignores_content_length(hostile, tmp_path: Path) -> None:
    source = RemoteFile(f"http://127.0.0.1:{hostile.server_address[1]}/two_lengths", 20_000_000)
    download_file(source, tmp_path / "a.bin", timeout=5, pause=0.001)
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


@pytest.mark.parametrize("endpoint", ["length_with_sign", "length_of_many_digits", "range_of_unknown_total"])
def test_short_response_with_malformed_length_is_rejected(hostile, tmp_path: Path, endpoint: str) -> None:
    source = RemoteFile(f"http://127.0.0.1:{hostile.server_address[1]}/{endpoint}", 20_000_000)
    with pytest.raises(InputError):
        download_file(source, tmp_path / "a.bin", timeout=5, pause=0.001)
    assert not (tmp_path / "a.bin").exists()


def test_response_without_content_is_an_error(hostile, tmp_path: Path) -> None:
    source = RemoteFile(f"http://127.0.0.1:{hostile.server_address[1]}/no_content", 20_000_000)
    with pytest.raises(InputError, match="the server responded 204 No Content, without content"):
        download_file(source, tmp_path / "a.bin", timeout=5, pause=0.001)
    assert not (tmp_path / "a.bin").exists()


def test_full_disk_is_not_retried_and_later_run_resumes(web, tmp_path: Path, monkeypatch) -> None:
    served = ServedFile(CONTENT)
    with file_size_limit(4_000_000), pytest.raises(OSError, match="File too large") as raised:
        download(web, served, tmp_path / "a.bin")
    assert raised.value.filename == str(tmp_path / ".a.bin.part")
    assert served.requested_ranges == [""]
    download(web, served, tmp_path / "a.bin", checksum=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@contextmanager
def file_size_limit(max_bytes: int) -> Iterator[None]:
    """Let writes beyond a file size fail (EFBIG), as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_redirects_to_other_schemes_are_rejected(web, tmp_path: Path, location: str) -> None:
    with pytest.raises(InputError):
        download(web, ServedFile(b"", location=location), tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize(
    ("url", "checksum"),
    [
        ("file:///etc/passwd", None),
        ("http://127.0.0.1/a", "sha256:123"),
        ("http://127.0.0.1/a", f"crc:{'0' * 64}"),
    ],
)
def test_invalid_url_or_checksum_is_rejected(url: str, checksum) -> None:
    with pytest.raises(InputError, match=r"not an http or https URL|is not sha256"):
        RemoteFile(url, 1, checksum)


def test_cli_downloads_a_file(web, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    web.files["a.bin"] = ServedFile(CONTENT)
    command = ["download", "file", "--url", web.url_of("a.bin"), "--out", str(tmp_path / "x" / "a.bin")]
    with pytest.raises(SystemExit) as exited:
        main([*command, "--max-bytes", "20000000"])
    assert exited.value.code == 0
    assert f"it has {SHA256}" in capfd.readouterr().err
    assert (tmp_path / "x" / "a.bin").read_bytes() == CONTENT
