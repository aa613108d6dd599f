"""Extraction of untrusted archives: nothing outside the folder, no links, no decompression bombs."""

import gzip
import io
import resource
import stat
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloob.common import archive as archive_module
from cloob.common.archive import extract_archive, is_archive
from cloob.common.errors import InputError

FILES = {"set/test/a/1.jpg": b"one", "set/test/b/2.jpg": b"two" * 1000}


def make_zip(path: Path, files=FILES, folders=("set/test/empty/",), compression=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in folders:
            archive.writestr(name, b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files=FILES, members=(), mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return path


def special_member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_zip_is_extracted_with_empty_folders(tmp_path: Path) -> None:
    extract_archive(make_zip(tmp_path / "a.zip"), tmp_path / "out", 10_000)
    assert contents(tmp_path / "out") == FILES
    assert (tmp_path / "out/set/test/empty").is_dir()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_is_extracted_with_empty_folders(tmp_path: Path, mode: str) -> None:
    members = [special_member("./", tarfile.DIRTYPE), special_member("set/test/empty", tarfile.DIRTYPE)]
    archive = make_tar(tmp_path / "a.tar", FILES, members, mode)
    assert is_archive(archive)
    extract_archive(archive, tmp_path / "out", 10_000)
    assert contents(tmp_path / "out") == FILES
    assert (tmp_path / "out/set/test/empty").is_dir()


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "a\\..\\out.txt", "C:/out"]
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_path_outside_the_folder_is_rejected(tmp_path: Path, make, name: str) -> None:
    archive = make(tmp_path / "a", {"fine.txt": b"1", name: b"2"})
    with pytest.raises(InputError, match="unsafe path"):
        extract_archive(archive, tmp_path / "deep" / "out", 10_000)
    assert contents(tmp_path) == {"a": archive.read_bytes()}


@pytest.mark.parametrize(
    "bad",
    [
        special_member("link", tarfile.SYMTYPE, "/etc"),
        special_member("link", tarfile.LNKTYPE, "set/test/a/1.jpg"),
        special_member("pipe", tarfile.FIFOTYPE),
        special_member("device", tarfile.CHRTYPE),
        special_member("disk", tarfile.BLKTYPE),
    ],
    ids=lambda info: info.name,
)
def test_links_and_devices_in_a_tar_are_rejected(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    with pytest.raises(InputError, match="is a link or a device"):
        extract_archive(make_tar(tmp_path / "a.tgz", FILES, [bad]), tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_rejected(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc")
    with pytest.raises(InputError, match="is a link or a device"):
        extract_archive(tmp_path / "a.zip", tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "make", [lambda path, files: make_zip(path, files, compression=zipfile.ZIP_DEFLATED), make_tar]
)
def test_decompression_bomb_is_rejected_and_leaves_no_files(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a", {"zeros": bytes(5_000_000), "more": bytes(6_000_000)})
    assert archive.stat().st_size < 100_000
    with pytest.raises(InputError, match="decompression bomb: more than 10,000,000 bytes"):
        extract_archive(archive, tmp_path / "out", 10_000_000)
    assert not (tmp_path / "out").exists()


def test_duplicate_name_is_rejected(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(InputError, match="contains 'a' twice"):
        extract_archive(tmp_path / "a.zip", tmp_path / "out", 10_000)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_truncated_archive_is_rejected(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a", {"noise": bytes(range(256)) * 400, "last": b"x"})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cannot be extracted .*download it again") as raised:
        extract_archive(archive, tmp_path / "out", 1_000_000)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_flipped_bit_in_a_zip_is_rejected(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    content[content.index(b"two")] ^= 1
    archive.write_bytes(content)
    with pytest.raises(InputError, match="CRC"):
        extract_archive(archive, tmp_path / "out", 10_000)


@pytest.mark.parametrize(("name", "replacement"), [(b"\xc3\xa4.txt", b"\xff\xff.txt"), (b"d/", b"\0\0")])
def test_zip_with_malformed_names_is_rejected(tmp_path: Path, name: bytes, replacement: bytes) -> None:
    archive = make_zip(tmp_path / "a.zip", {"ä.txt": b"1"}, folders=("d/",))
    archive.write_bytes(archive.read_bytes().replace(name, replacement))
    with pytest.raises(InputError, match=f"{archive}: cannot be extracted"):
        extract_archive(archive, tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


def test_file_that_is_not_an_archive_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>gone</html>")
    assert not is_archive(tmp_path / "page.html")
    with pytest.raises(InputError, match="cannot be extracted"):
        extract_archive(tmp_path / "page.html", tmp_path / "out", 10_000)


ZEROS = 64_000_000


def tar_with_header(path: Path, header: tarfile.TarInfo, size: int = ZEROS) -> Path:
    """A small gzip file: a tar whose first header declares a huge body of zeros."""
    header.size = size
    with gzip.open(path, "wb", compresslevel=1) as compressed:
        compressed.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(size))
    return path


@contextmanager
def memory_limit(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    ],
)
def test_oversized_header_is_rejected_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    archive = tar_with_header(tmp_path / "a.tgz", special_member("name", kind))
    with memory_limit(8_000_000):
        assert is_archive(archive)
        with pytest.raises(InputError, match="decompression bomb: a header of more than 1,048,576 bytes"):
            extract_archive(archive, tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


def test_oversized_header_after_valid_ones_is_rejected(tmp_path: Path) -> None:
    small = tarfile.TarInfo("small")
    header = special_member("name", tarfile.XHDTYPE)
    header.size = ZEROS
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as compressed:
        compressed.write(small.tobuf() + header.tobuf() + bytes(ZEROS))
    with memory_limit(8_000_000), pytest.raises(InputError, match="decompression bomb"):
        extract_archive(tmp_path / "a.tgz", tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


def test_endless_sequence_of_headers_is_rejected(tmp_path: Path) -> None:
    header = tarfile.TarInfo("a").create_pax_global_header({"comment": "x" * 400})
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as compressed:
        compressed.write(header * 20_000)
    with memory_limit(20_000_000), pytest.raises(InputError, match=r"decompression bomb|cannot be extracted"):
        extract_archive(tmp_path / "a.tgz", tmp_path / "out", 10_000)


def pax_header(body: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, len(body)
    return header.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


END = tarfile.TarInfo("a").tobuf() + bytes(1024)
HOSTILE_PAX = {
    "overlapping records": pax_header(b"2 " * 300_000 + b"=\n"),
    "long number": pax_header(b"100010 a=" + b"1" * 100_000 + b"\n"),
    "record beyond the end": pax_header(b"30 path=a\n"),
    "empty record": pax_header(b"0 path=a\n"),
    "many headers of one member": pax_header(b"") * 1_500,
}


@pytest.mark.parametrize("headers", HOSTILE_PAX.values(), ids=HOSTILE_PAX)
def test_malformed_pax_headers_are_rejected_quickly(tmp_path: Path, headers: bytes) -> None:
    for name, content in (("first", headers + END), ("later", tarfile.TarInfo("b").tobuf() + headers + END)):
        (tmp_path / name).write_bytes(content)
        started = time.monotonic()
        with pytest.raises(InputError, match=r"(malformed pax header|too many headers)"):
            extract_archive(tmp_path / name, tmp_path / "out", 10_000)
        assert time.monotonic() - started < 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "records",
    [
        b"13 size=-512\n",
        b"26 GNU.sparse.realsize=-5\n",
        b"21 GNU.sparse.size=1\n20 GNU.sparse.map=x\n",
        b"29 size=99999999999999999999\n",
    ],
)
def test_impossible_numbers_in_pax_headers_are_rejected(tmp_path: Path, records: bytes) -> None:
    for name, before in (("first", b""), ("later", tarfile.TarInfo("b").tobuf())):
        (tmp_path / name).write_bytes(before + pax_header(records) + END)
        with pytest.raises(InputError, match=f"{name}: cannot be extracted"):
            extract_archive(tmp_path / name, tmp_path / "out", 10_000)


def test_global_pax_headers_are_limited(tmp_path: Path) -> None:
    body = b"".join(b"%d %06d=\n" % (11, number) for number in range(30_000))
    with gzip.open(tmp_path / "a.tgz", "wb") as compressed:
        for number in range(4):
            compressed.write(pax_header(body, tarfile.XGLTYPE) + tarfile.TarInfo(f"{number}").tobuf())
        compressed.write(bytes(1024))
    with pytest.raises(InputError, match="global headers of more than"):
        extract_archive(tmp_path / "a.tgz", tmp_path / "out", 10_000)


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_all_tar_formats_are_read(tmp_path: Path, tar_format: int) -> None:
    names = [f"{letter * 200}/{letter * 100}/é{number}" for number, letter in enumerate("xgXLK")]
    with tarfile.open(
        tmp_path / "a.tar", "w", format=tar_format, pax_headers={"comment": "written by git"}
    ) as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    extract_archive(tmp_path / "a.tar", tmp_path / "out", 10_000)
    assert all((tmp_path / "out" / name).is_file() for name in names)


def test_tar_damaged_in_the_middle_is_not_partially_extracted(tmp_path: Path) -> None:
    damaged = tarfile.TarInfo("a").tobuf() + b"x" + tarfile.TarInfo("b").tobuf()[1:] + bytes(1024)
    (tmp_path / "a.tar").write_bytes(damaged)
    with pytest.raises(InputError, match="neither a header nor the end-of-archive marker at byte 512"):
        extract_archive(tmp_path / "a.tar", tmp_path / "out", 10_000)


def test_oversized_sparse_map_is_rejected(tmp_path: Path) -> None:
    sparse = tarfile.TarInfo("sparse")
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}
    sparse.size = ZEROS // 8
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as compressed:
        compressed.write(sparse.tobuf(tarfile.PAX_FORMAT) + b"3000000\n" + b"1\n" * (ZEROS // 16))
    with memory_limit(40_000_000), pytest.raises(InputError, match="decompression bomb"):
        extract_archive(tmp_path / "a.tgz", tmp_path / "out", 10_000)
    old = tarfile.TarInfo("old").tobuf(tarfile.GNU_FORMAT)
    old = bytearray(old[:156] + tarfile.GNUTYPE_SPARSE + old[157:])
    old[482] = 1  # another block of the map follows
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old)
    more = bytearray(b"%011o\0%011o\0" % (0, 0) * 21 + bytes(8))
    more[504] = 1
    with gzip.open(tmp_path / "b.tgz", "wb", compresslevel=1) as compressed:
        compressed.write(bytes(old) + bytes(more) * 20_000)
    with memory_limit(20_000_000), pytest.raises(InputError, match="decompression bomb"):
        extract_archive(tmp_path / "b.tgz", tmp_path / "out", 10_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "b.tgz"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["d/" * 5_000 + "f", "d/" * 13 + "f", "n" * 256, "d/" + "ä" * 128 + "/f"])
def test_path_that_is_too_deep_or_too_long_is_rejected(tmp_path: Path, make, name: str) -> None:
    with pytest.raises(InputError, match="is too long") as raised:
        extract_archive(make(tmp_path / "a", {"fine.txt": b"1", name: b"2"}), tmp_path / "out", 10_000)
    assert len(str(raised.value)) < 500
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["{number}", "a{number}/b/c/d/e/f"])
def test_too_many_files_and_folders_are_rejected(tmp_path: Path, monkeypatch, make, name: str) -> None:
    monkeypatch.setattr(archive_module, "_MAX_MEMBERS", 100)
    archive = make(tmp_path / "a", {name.format(number=number): b"" for number in range(101)})
    with pytest.raises(InputError, match="more than 100 members"):
        extract_archive(archive, tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


def test_zip_with_too_many_members_is_rejected_before_they_are_listed(tmp_path: Path, monkeypatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {f"{number:0200d}": b"" for number in range(6_000)})
    monkeypatch.setattr(archive_module, "_MAX_MEMBERS", 5_000)
    with memory_limit(4_000_000), pytest.raises(InputError, match="more than 5,000 members"):
        extract_archive(archive, tmp_path / "out", 10_000)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_name_of_both_a_file_and_a_folder_is_rejected(tmp_path: Path, make, names: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="twice"):
        extract_archive(make(tmp_path / "a", dict.fromkeys(names, b"1")), tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


def test_full_disk_is_not_reported_as_a_damaged_archive(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a/b/small": b"1", "a/b/large": bytes(3_000_000)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            extract_archive(archive, tmp_path / "out", 10_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(tmp_path / "out/a/b/large")
    assert not (tmp_path / "out").exists()
