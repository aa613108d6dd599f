"""Archives are hostile until they are unpacked: nothing outside the folder, no links, no bombs."""

import gzip
import io
import os
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

from cloob.common import archive as archives
from cloob.common.archive import extract_archive, is_archive
from cloob.common.directories import remove_tree
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


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_zip_with_its_empty_folders(tmp_path: Path) -> None:
    extract_archive(make_zip(tmp_path / "a.zip"), tmp_path / "out", 10_000)
    assert contents(tmp_path / "out") == FILES
    assert (tmp_path / "out/set/test/empty").is_dir()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_with_its_empty_folders(tmp_path: Path, mode: str) -> None:
    members = [member("./", tarfile.DIRTYPE), member("set/test/empty", tarfile.DIRTYPE)]
    archive = make_tar(tmp_path / "a.tar", FILES, members, mode)
    assert is_archive(archive)
    extract_archive(archive, tmp_path / "out", 10_000)
    assert contents(tmp_path / "out") == FILES
    assert (tmp_path / "out/set/test/empty").is_dir()


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "a\\..\\out.txt", "C:/out"]
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, make, name: str) -> None:
    archive = make(tmp_path / "a", {"fine.txt": b"1", name: b"2"})
    with pytest.raises(InputError, match="leads elsewhere"):
        extract_archive(archive, tmp_path / "deep" / "out", 10_000)
    assert contents(tmp_path) == {"a": archive.read_bytes()}


@pytest.mark.parametrize(
    "bad",
    [
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.LNKTYPE, "set/test/a/1.jpg"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
        member("disk", tarfile.BLKTYPE),
    ],
    ids=lambda each: each.name,
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    with pytest.raises(InputError, match="is a link or a device"):
        extract_archive(make_tar(tmp_path / "a.tgz", FILES, [bad]), tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int) -> None:
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
def test_a_bomb_is_refused_and_leaves_nothing(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a", {"zeros": bytes(5_000_000), "more": bytes(6_000_000)})
    assert archive.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"more than 10,000,000 bytes unpacked"):
        extract_archive(archive, tmp_path / "out", 10_000_000)
    assert not (tmp_path / "out").exists()


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(InputError, match="'a' is in it twice"):
        extract_archive(tmp_path / "a.zip", tmp_path / "out", 10_000)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_torn_archive_is_refused(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a", {"noise": bytes(range(256)) * 400, "last": b"x"})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cannot be unpacked .*fetch it again") as caught:
        extract_archive(archive, tmp_path / "out", 1_000_000)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_in_a_zip_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    content[content.index(b"two")] ^= 1
    archive.write_bytes(content)
    with pytest.raises(InputError, match="CRC"):
        extract_archive(archive, tmp_path / "out", 10_000)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>gone</html>")
    assert not is_archive(tmp_path / "page.html")
    with pytest.raises(InputError, match="cannot be unpacked"):
        extract_archive(tmp_path / "page.html", tmp_path / "out", 10_000)


ZEROS = 64_000_000


def tar_with_header(path: Path, header: tarfile.TarInfo, begin: bytes = b"", size: int = ZEROS) -> Path:
    """A small gzip file: a tar whose first header announces much, and zeros for it."""
    header.size = size
    with gzip.open(path, "wb", compresslevel=1) as packed:
        packed.write(header.tobuf(tarfile.GNU_FORMAT) + begin + bytes(size - len(begin)))
    return path


@contextmanager
def little_memory(limit: int) -> Iterator[None]:
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
def test_a_header_without_end_is_refused_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    archive = tar_with_header(tmp_path / "a.tgz", member("name", kind))
    with little_memory(8_000_000):
        assert is_archive(archive)
        with pytest.raises(InputError, match=r"a header of more than 1,048,576 bytes .* refused as a bomb"):
            extract_archive(archive, tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


def test_a_header_without_end_is_refused_behind_others_too(tmp_path: Path) -> None:
    small = tarfile.TarInfo("small")
    header = member("name", tarfile.XHDTYPE)
    header.size = ZEROS
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as packed:
        packed.write(small.tobuf() + header.tobuf() + bytes(ZEROS))
    with little_memory(8_000_000), pytest.raises(InputError, match="refused as a bomb"):
        extract_archive(tmp_path / "a.tgz", tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


def test_headers_that_follow_each_other_without_end_are_refused(tmp_path: Path) -> None:
    one = tarfile.TarInfo("a").create_pax_global_header({"comment": "x" * 400})
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as packed:
        packed.write(one * 20_000)
    with little_memory(20_000_000), pytest.raises(InputError, match=r"refused as a bomb|cannot be unpacked"):
        extract_archive(tmp_path / "a.tgz", tmp_path / "out", 10_000)


def pax(body: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, len(body)
    return header.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


END = tarfile.TarInfo("a").tobuf() + bytes(1024)
HOSTILE_PAX = {
    "records that overlap": pax(b"2 " * 300_000 + b"=\n"),
    "digits": pax(b"100010 a=" + b"1" * 100_000 + b"\n"),
    "a record that ends nowhere": pax(b"30 path=a\n"),
    "a record of nothing": pax(b"0 path=a\n"),
    "headers of one member": pax(b"") * 1_500,
}


@pytest.mark.parametrize("headers", HOSTILE_PAX.values(), ids=HOSTILE_PAX)
def test_malformed_pax_headers_are_refused_at_once(tmp_path: Path, headers: bytes) -> None:
    for name, content in (("first", headers + END), ("later", tarfile.TarInfo("b").tobuf() + headers + END)):
        (tmp_path / name).write_bytes(content)
        began = time.monotonic()
        with pytest.raises(InputError, match=r"(malformed pax header|too many headers)"):
            extract_archive(tmp_path / name, tmp_path / "out", 10_000)
        assert time.monotonic() - began < 1 and not (tmp_path / "out").exists()


def test_global_pax_headers_are_not_collected_without_end(tmp_path: Path) -> None:
    body = b"".join(b"%d %06d=\n" % (11, number) for number in range(30_000))
    with gzip.open(tmp_path / "a.tgz", "wb") as packed:
        for number in range(4):
            packed.write(pax(body, tarfile.XGLTYPE) + tarfile.TarInfo(f"{number}").tobuf())
        packed.write(bytes(1024))
    with pytest.raises(InputError, match="global headers of more than"):
        extract_archive(tmp_path / "a.tgz", tmp_path / "out", 10_000)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_any_form_are_read(tmp_path: Path, form: int) -> None:
    names = [f"{letter * 200}/{letter * 100}/é{number}" for number, letter in enumerate("xgXLK")]
    with tarfile.open(tmp_path / "a.tar", "w", format=form, pax_headers={"comment": "of git"}) as made:
        for name in names:
            made.addfile(tarfile.TarInfo(name))
    extract_archive(tmp_path / "a.tar", tmp_path / "out", 10_000)
    assert all((tmp_path / "out" / name).is_file() for name in names)


def test_a_tar_that_is_damaged_in_the_middle_is_not_unpacked_up_to_there(tmp_path: Path) -> None:
    damaged = tarfile.TarInfo("a").tobuf() + b"x" + tarfile.TarInfo("b").tobuf()[1:] + bytes(1024)
    (tmp_path / "a.tar").write_bytes(damaged)
    with pytest.raises(InputError, match="neither a header nor the end mark at byte 512"):
        extract_archive(tmp_path / "a.tar", tmp_path / "out", 10_000)


def test_a_map_of_holes_is_refused(tmp_path: Path) -> None:
    made = tarfile.TarInfo("sparse")
    made.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}
    made.size = ZEROS // 8
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as packed:
        packed.write(made.tobuf(tarfile.PAX_FORMAT) + b"3000000\n" + b"1\n" * (ZEROS // 16))
    with little_memory(40_000_000), pytest.raises(InputError, match="refused as a bomb"):
        extract_archive(tmp_path / "a.tgz", tmp_path / "out", 10_000)
    old = tarfile.TarInfo("old").tobuf(tarfile.GNU_FORMAT)
    old = bytearray(old[:156] + tarfile.GNUTYPE_SPARSE + old[157:])
    old[482] = 1  # another block of the map follows, and so on
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old)
    more = bytearray(b"%011o\0%011o\0" % (0, 0) * 21 + bytes(8))
    more[504] = 1
    with gzip.open(tmp_path / "b.tgz", "wb", compresslevel=1) as packed:
        packed.write(bytes(old) + bytes(more) * 20_000)
    with little_memory(20_000_000), pytest.raises(InputError, match="refused as a bomb"):
        extract_archive(tmp_path / "b.tgz", tmp_path / "out", 10_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "b.tgz"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["d/" * 5_000 + "f", "d/" * 13 + "f", "n" * 256, "d/" + "ä" * 128 + "/f"])
def test_a_path_that_is_too_deep_or_too_long_is_refused(tmp_path: Path, make, name: str) -> None:
    with pytest.raises(InputError, match=r"too long; it is refused") as caught:
        extract_archive(make(tmp_path / "a", {"fine.txt": b"1", name: b"2"}), tmp_path / "out", 10_000)
    assert len(str(caught.value)) < 500
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["{number}", "a{number}/b/c/d/e/f"])
def test_too_many_members_are_refused_folders_counted(tmp_path: Path, monkeypatch, make, name: str) -> None:
    monkeypatch.setattr(archives, "_MAX_MEMBERS", 100)
    archive = make(tmp_path / "a", {name.format(number=number): b"" for number in range(101)})
    with pytest.raises(InputError, match="more than 100 members"):
        extract_archive(archive, tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


def test_a_zip_of_too_many_members_is_refused_before_they_are_listed(tmp_path: Path, monkeypatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {f"{number:0200d}": b"" for number in range(6_000)})
    monkeypatch.setattr(archives, "_MAX_MEMBERS", 5_000)
    with little_memory(4_000_000), pytest.raises(InputError, match="more than 5,000 members"):
        extract_archive(archive, tmp_path / "out", 10_000)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_file_that_is_a_folder_too_is_refused(tmp_path: Path, make, names: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="is in it twice"):
        extract_archive(make(tmp_path / "a", dict.fromkeys(names, b"1")), tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


def test_what_an_earlier_run_left_is_removed_however_deep_locked_and_odd(tmp_path: Path) -> None:
    inside, outside = tmp_path / "out", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "file").touch()
    os.mkfifo(inside / "pipe")
    (inside / os.fsdecode(b"\xff\n")).touch()
    (inside / "link").symlink_to(outside)
    (inside / "dangling").symlink_to("nowhere")
    locked = inside / "locked" / "deeper" / "deepest"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    for folder in (locked, locked.parent, locked.parent.parent):
        folder.chmod(0)
    before = os.open(".", os.O_RDONLY)
    os.chdir(inside)
    try:
        for _ in range(1_000):
            Path("deep").mkdir()
            os.chdir("deep")
    finally:
        os.fchdir(before)
        os.close(before)
    remove_tree(inside)
    assert not inside.exists()
    assert (outside / "file").exists()
    (tmp_path / "link").symlink_to(outside)
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_a_disk_that_is_full_is_no_damage_of_the_archive(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a/b/small": b"1", "a/b/large": bytes(3_000_000)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            extract_archive(archive, tmp_path / "out", 10_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / "out/a/b/large")
    assert not (tmp_path / "out").exists()
