"""Existing webdataset shards: every tar and every sample that webdataset reads; nothing is lost silently."""

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from webdataset import tariterators

from cloob.cli import main
from cloob.common.errors import InputError
from cloob.common.json_files import read_json
from cloob.shards.from_webdataset import webdataset_source
from cloob.shards.pack import PackOptions, pack
from cloob.shards.training_image import ImagePolicy
from cloob.shards.webdataset_tars import key_and_suffix, read_samples
from tests.helpers.packing import PER_SHARD, RULES, by_caption, outcomes_of
from tests.helpers.sample_images import encoded, jpeg, noise

Member = tuple[str | tarfile.TarInfo, bytes]


def tar_of(members: list[Member]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def pair(key: str, seed: int, caption: str | None = None) -> list[Member]:
    return [(f"{key}.jpg", jpeg(seed)), (f"{key}.txt", (caption or key).encode())]


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "a.jpg"
    return member


def packed(folder: Path, out: Path, rules: ImagePolicy = RULES) -> Path:
    source = webdataset_source(folder, rules.max_bytes)
    pack(source, out, out / "outcomes.csv", PackOptions(PER_SHARD, 1, rules), 1)
    return out / "shards.json"


def by_webdataset(tar: Path) -> list[tuple[str, set[str]]]:
    """Key and suffixes of each of webdataset's own samples."""
    with tar.open("rb") as stream:
        files = tariterators.tar_file_expander(iter([{"url": str(tar), "stream": stream}]))
        samples = list(tariterators.group_by_keys(files))
    return [(one["__key__"], {name for name in one if not name.startswith("__")}) for one in samples]


STRAYS: list[Member] = [
    ("._a.jpg", b"\x00\x05\x16\x07"),
    ("README", b"no dot"),
    (".DS_Store", b"hidden"),
    ("__index__", b"of webdataset"),
    ("__meta__/0.json", b"{}"),
    (special("folder", tarfile.DIRTYPE), b""),
    (special("soft.jpg", tarfile.SYMTYPE), b""),
    (special("pipe.jpg", tarfile.FIFOTYPE), b""),
]


@pytest.mark.parametrize("stray", STRAYS, ids=lambda stray: getattr(stray[0], "name", stray[0]))
def test_a_sample_that_is_interrupted_by_what_is_none_is_whole(tmp_path: Path, stray: Member) -> None:
    image, text = pair("a", 1)
    (tmp_path / "frozen").mkdir()
    tar = tmp_path / "frozen" / "0.tar"
    tar.write_bytes(tar_of([stray, image, stray, text, stray, *pair("b", 2)]))
    assert by_webdataset(tar) == [("a", {"jpg", "txt"}), ("b", {"jpg", "txt"})]
    manifest = packed(tmp_path / "frozen", tmp_path / "shards")
    assert set(by_caption(manifest)) == {"a", "b"}
    is_link = isinstance(stray[0], tarfile.TarInfo) and not stray[0].isdir()
    assert outcomes_of(manifest) == {"kept": 2} | ({"not_a_file": 1} if is_link else {})


def test_apple_double_files_in_folders_interrupt_nothing_either(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / "frozen").mkdir()
    members = [each for one in pair("in/a", 1, "a") for each in ((f"in/._{one[0][3:]}", b"\x00"), one)]
    (tmp_path / "frozen" / "0.tar").write_bytes(tar_of(members))
    assert set(by_caption(packed(tmp_path / "frozen", tmp_path / "shards"))) == {"a"}
    assert (
        "0.tar: 2 members are part of no sample and skipped: 'in/._a.jpg', 'in/._a.txt'"
        in capfd.readouterr().err
    )


def test_names_are_divided_as_webdataset_divides_them() -> None:
    choice = random.Random(3)
    for _ in range(20_000):
        name = "".join(
            choice.choice(["a", "B", ".", "/", "_", "__", "jpg"]) for _ in range(choice.randint(1, 9))
        )
        base = name.rpartition("/")[2]
        if not name.strip("/") or ("/" in name and base.startswith("._")):
            continue
        key, suffix = tariterators.base_plus_ext(name)
        is_metadata = tariterators.re.match(r"__[^/]*__($|/)", name)
        expected = None if key is None or is_metadata else (key, suffix.lower())
        assert key_and_suffix(name) == expected, name


def test_samples_are_grouped_as_webdataset_groups_them(tmp_path: Path) -> None:
    choice = random.Random(5)
    keys = ["a", "a.b", "x/a", "x.y/a", "x/.h", ".h", "B", "x/y/z", "__m__", "__m__/k", "_"]
    for number in range(200):
        names = [
            f"{choice.choice(keys)}.{choice.choice(['jpg', 'JPG', 'txt', 'seg.png', 'json'])}"
            for _ in range(12)
        ]
        tar = tmp_path / f"{number}.tar"
        tar.write_bytes(tar_of([(name, b"x") for name in names]))
        try:
            expected = by_webdataset(tar)
        except ValueError:  # the same name twice in a sample, for which webdataset stops
            continue
        samples, _ = read_samples(tar)
        assert [(one.key, {suffix for suffix, _ in one.members}) for one in samples] == expected


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("1.tar.gz", gzip.compress),
        ("1.tgz", gzip.compress),
        ("1.tar.bz2", bz2.compress),
        ("1.tar.xz", lzma.compress),
        ("1.TAR", lambda content: content),
        ("1.tar", gzip.compress),  # told by content, as webdataset does
        ("1.tar.gz", lambda content: gzip.compress(content[:3000]) + gzip.compress(content[3000:])),
        (
            "1.tar.xz",
            lambda content: lzma.compress(content[:3000]) + lzma.compress(content[3000:]) + bytes(8),
        ),
    ],
)
def test_compressed_tars_beside_plain_ones_are_read(tmp_path: Path, name: str, compress: Callable) -> None:
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "0.tar").write_bytes(tar_of(pair("zero", 1)))
    members = [*pair("one", 2), ("two.png", encoded(noise(3), "PNG")), ("two.txt", b"two")]
    (tmp_path / "frozen" / name).write_bytes(compress(tar_of(members)))
    manifest = packed(tmp_path / "frozen", tmp_path / "shards")
    assert outcomes_of(manifest) == {"kept": 3}
    assert {caption: image for caption, image in by_caption(manifest).items() if caption != "two"} == {
        "zero": jpeg(1),
        "one": jpeg(2),
    }
    assert read_json(manifest)["tars"] == 2
    assert not (tmp_path / "shards" / "work").exists()


def test_a_tar_beside_its_compressed_form_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "frozen").mkdir()
    content = tar_of(pair("a", 1) + pair("b", 2))
    (tmp_path / "frozen" / "0.tar").write_bytes(content)
    (tmp_path / "frozen" / "0.tar.gz").write_bytes(gzip.compress(content))
    assert outcomes_of(packed(tmp_path / "frozen", tmp_path / "shards")) == {"kept": 2, "duplicate_tar": 2}


def test_links_are_followed_and_nothing_is_read_twice(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    frozen, elsewhere = tmp_path / "frozen", tmp_path / "elsewhere"
    for folder, key in ((frozen, "a"), (elsewhere / "deep", "b"), (tmp_path / "third", "c")):
        folder.mkdir(parents=True)
        (folder / f"{key}.tar").write_bytes(tar_of(pair(key, ord(key))))
    (frozen / "linked").symlink_to(elsewhere)
    (frozen / "again").symlink_to(elsewhere)
    (elsewhere / "deep" / "circle").symlink_to(frozen)
    (frozen / "c.tar").symlink_to(tmp_path / "third" / "c.tar")
    (frozen / "d.tar").hardlink_to(frozen / "a.tar")
    (frozen / "._a.tar").write_bytes(b"of a Mac")
    (frozen / "notes.txt").write_text("of a person")
    manifest = packed(frozen, tmp_path / "shards")
    assert set(by_caption(manifest)) == {"a", "b", "c"} and outcomes_of(manifest) == {"kept": 3}
    assert read_json(manifest)["files_not_read"][0] == "._a.tar"
    said = capfd.readouterr().err
    assert "3 files are no tars of their own" in said
    assert "'._a.tar'" in said and "'notes.txt'" in said and "'d.tar (the same file as a.tar)'" in said


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "0.tar").write_bytes(tar_of(pair("a", 1)))
    (tmp_path / "frozen").symlink_to("disk")
    assert outcomes_of(packed(tmp_path / "frozen", tmp_path / "shards")) == {"kept": 1}


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(tar_of(pair("a", 1)))
    (tmp_path / "1.tar").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"1\.tar: a link to nothing"):
        webdataset_source(tmp_path, 1000)
    (tmp_path / "1.tar").unlink()
    (tmp_path / "2.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(InputError, match=r"2\.tar\.zst: not a compression that is read"):
        webdataset_source(tmp_path, 1000)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_torn_compressed_tar_is_an_error_that_names_it(tmp_path: Path, compress: Callable) -> None:
    (tmp_path / "frozen").mkdir()
    whole = compress(tar_of(pair("a", 1)))
    for content in (whole[:-20], whole[: len(whole) // 2]):
        (tmp_path / "frozen" / "0.tar.gz").write_bytes(content)
        with pytest.raises(InputError, match=r"0\.tar\.gz: damaged"):
            packed(tmp_path / "frozen", tmp_path / "shards")


def test_a_compressed_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloob.shards.webdataset_tars._SLACK", 0)
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "0.tar.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(InputError, match=r"0\.tar\.gz: grows more than 100-fold"):
        packed(tmp_path / "frozen", tmp_path / "shards")
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    (tmp_path / "frozen" / "0.tar.gz").write_bytes(lzma.compress(b"x" * 1000, filters=filters))
    with pytest.raises(InputError, match=r"0\.tar\.gz: damaged \(Memory usage limit exceeded"):
        packed(tmp_path / "frozen", tmp_path / "shards")


def test_several_tars_in_one_file_are_an_error_not_a_loss(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(tar_of(pair("a", 1)) + tar_of(pair("b", 2)))
    with pytest.raises(InputError, match=r"more behind the end mark at byte .*several tars in one"):
        read_samples(tmp_path / "0.tar")


@pytest.mark.parametrize("compress", [gzip.compress, lambda content: content])
def test_a_damaged_tar_is_named_as_the_user_knows_it(tmp_path: Path, compress: Callable) -> None:
    header = special("x", tarfile.XHDTYPE).tobuf()
    (tmp_path / "frozen").mkdir()
    for content in (header * 1_500, tar_of(pair("a", 1)) * 2):
        (tmp_path / "frozen" / "0.tar.gz").write_bytes(compress(content))
        with pytest.raises(InputError, match=r"/frozen/0\.tar\.gz: damaged \((too many|more behind)"):
            packed(tmp_path / "frozen", tmp_path / "shards")


def test_a_name_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(tar_of([("x/" * 3000 + "a.jpg", b"")]))
    with pytest.raises(InputError, match=r"0\.tar: a member's name of 6,005 characters"):
        read_samples(tmp_path / "0.tar")


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.tar")).write_bytes(tar_of(pair("a", 1)))
    (folder / os.fsdecode(b"\xfe.txt")).write_text("other")
    assert outcomes_of(packed(folder, tmp_path / "shards")) == {"kept": 1}


def test_size_and_shape_follow_the_rules_of_the_download(tmp_path: Path) -> None:
    rules = replace(RULES, image_size=64, min_size=16, max_aspect_ratio=3.0)
    images = {
        "kept as it is": jpeg(1, width=64, height=48),
        "wide": jpeg(2, width=200, height=100),
        "tall": encoded(noise(3, width=100, height=200), "PNG"),
        "gray": jpeg(4, mode="L", width=128, height=96),
        "a spacer": jpeg(5, width=20, height=15),
        "a banner": jpeg(6, width=97, height=32),
    }
    members = [
        member
        for number, (caption, image) in enumerate(images.items())
        for member in ((f"{number}.jpg", image), (f"{number}.txt", caption.encode()))
    ]
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "0.tar").write_bytes(tar_of(members))
    manifest = packed(tmp_path / "frozen", tmp_path / "shards", rules)
    assert outcomes_of(manifest) == {"kept": 4, "too_small": 1, "aspect_ratio": 1}
    found = by_caption(manifest)
    assert found["kept as it is"] == images["kept as it is"]
    sizes = {caption: Image.open(io.BytesIO(image)).size for caption, image in found.items()}
    assert sizes == {"kept as it is": (64, 48), "wide": (64, 32), "tall": (32, 64), "gray": (64, 48)}
    kept = pq.read_table(tmp_path / "shards" / "000000.parquet", columns=["width", "height"]).to_pylist()
    assert sorted((row["width"], row["height"]) for row in kept) == sorted(sizes.values())


def test_the_command_line_applies_them_to_existing_shards_where_asked(tmp_path: Path) -> None:
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "0.tar").write_bytes(tar_of(pair("a", 1)))  # 48 × 32
    for more, outcomes in (([], {"kept": 1}), (["--min-size=33"], {"too_small": 1, "kept": 0})):
        out = tmp_path / f"shards{len(more)}"
        arguments = (
            f"shards pack --ready-made {tmp_path / 'frozen'} --out {out} --outcomes {out}/outcomes.csv"
        )
        arguments += " --samples-per-shard 10 --seed 1 --max-bytes 100000 --max-pixels 100000"
        with pytest.raises(SystemExit) as ended:
            main([*arguments.split(), "--quality=95", "--processes=1", *more])
        assert ended.value.code == (0 if outcomes["kept"] else 2)
