"""Archives are hostile until they are unpacked: nothing outside the folder, no links, no bombs."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from cloob.download.archive import is_archive, unpack
from cloob.errors import InputError

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
    unpack(make_zip(tmp_path / "a.zip"), tmp_path / "out", 10_000)
    assert contents(tmp_path / "out") == FILES
    assert (tmp_path / "out/set/test/empty").is_dir()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_with_its_empty_folders(tmp_path: Path, mode: str) -> None:
    members = [member("./", tarfile.DIRTYPE), member("set/test/empty", tarfile.DIRTYPE)]
    archive = make_tar(tmp_path / "a.tar", FILES, members, mode)
    assert is_archive(archive)
    unpack(archive, tmp_path / "out", 10_000)
    assert contents(tmp_path / "out") == FILES
    assert (tmp_path / "out/set/test/empty").is_dir()


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "a\\..\\out.txt", "C:/out"]
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, make, name: str) -> None:
    archive = make(tmp_path / "a", {"fine.txt": b"1", name: b"2"})
    with pytest.raises(InputError, match="leads elsewhere"):
        unpack(archive, tmp_path / "deep" / "out", 10_000)
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
        unpack(make_tar(tmp_path / "a.tgz", FILES, [bad]), tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc")
    with pytest.raises(InputError, match="is a link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out", 10_000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "make", [lambda path, files: make_zip(path, files, compression=zipfile.ZIP_DEFLATED), make_tar]
)
def test_a_bomb_is_refused_and_leaves_nothing(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a", {"zeros": bytes(5_000_000), "more": bytes(6_000_000)})
    assert archive.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"more than 10,000,000 bytes unpacked"):
        unpack(archive, tmp_path / "out", 10_000_000)
    assert not (tmp_path / "out").exists()


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(InputError, match="'a' is in it twice"):
        unpack(tmp_path / "a.zip", tmp_path / "out", 10_000)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_torn_archive_is_refused(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a", {"noise": bytes(range(256)) * 400, "last": b"x"})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cannot be unpacked .*fetch it again") as caught:
        unpack(archive, tmp_path / "out", 1_000_000)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_in_a_zip_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    content[content.index(b"two")] ^= 1
    archive.write_bytes(content)
    with pytest.raises(InputError, match="CRC"):
        unpack(archive, tmp_path / "out", 10_000)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>gone</html>")
    assert not is_archive(tmp_path / "page.html")
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack(tmp_path / "page.html", tmp_path / "out", 10_000)
