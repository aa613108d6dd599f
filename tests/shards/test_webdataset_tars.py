"""Reading existing webdataset shards: every tar and sample that webdataset reads; others are reported."""

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
from cloob.shards.training_image import ImagePolicy
from cloob.shards.webdataset_tars import key_and_suffix, read_samples
from tests.helpers.packing import POLICY, images_by_caption, manifest_outcomes, pack_source
from tests.helpers.sample_images import encode_image, jpeg, noise_image
from tests.helpers.webdataset_tars import Member, image_and_caption, special_member, tar_bytes


def pack_folder(folder: Path, out: Path, policy: ImagePolicy = POLICY) -> Path:
    return pack_source(webdataset_source([folder], policy.max_bytes), out, policy=policy)


def webdataset_samples(tar: Path) -> list[tuple[str, set[str]]]:
    """Key and suffixes of every sample as webdataset itself reads them."""
    with tar.open("rb") as stream:
        files = tariterators.tar_file_expander(iter([{"url": str(tar), "stream": stream}]))
        samples = list(tariterators.group_by_keys(files))
    return [(sample["__key__"], {name for name in sample if not name.startswith("__")}) for sample in samples]


SKIPPED_MEMBERS: list[Member] = [
    ("._a.jpg", b"\x00\x05\x16\x07"),
    ("README", b"no dot"),
    (".DS_Store", b"hidden"),
    ("__index__", b"webdataset metadata"),
    ("__meta__/0.json", b"{}"),
    (special_member("folder", tarfile.DIRTYPE), b""),
    (special_member("soft.jpg", tarfile.SYMTYPE), b""),
    (special_member("pipe.jpg", tarfile.FIFOTYPE), b""),
]


@pytest.mark.parametrize("skipped", SKIPPED_MEMBERS, ids=lambda member: getattr(member[0], "name", member[0]))
def test_skipped_members_do_not_split_a_sample(tmp_path: Path, skipped: Member) -> None:
    image, text = image_and_caption("a", 1)
    (tmp_path / "existing").mkdir()
    tar = tmp_path / "existing" / "0.tar"
    tar.write_bytes(tar_bytes([skipped, image, skipped, text, skipped, *image_and_caption("b", 2)]))
    assert webdataset_samples(tar) == [("a", {"jpg", "txt"}), ("b", {"jpg", "txt"})]
    manifest = pack_folder(tmp_path / "existing", tmp_path / "shards")
    assert set(images_by_caption(manifest)) == {"a", "b"}
    is_special = isinstance(skipped[0], tarfile.TarInfo) and not skipped[0].isdir()
    assert manifest_outcomes(manifest) == {"kept": 2} | ({"not_a_file": 1} if is_special else {})


def test_apple_double_files_do_not_split_a_sample(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "existing").mkdir()
    members: list[Member] = []
    for name, content in image_and_caption("in/a", 1, "a"):
        members += [(f"in/._{str(name)[3:]}", b"\x00"), (name, content)]
    (tmp_path / "existing" / "0.tar").write_bytes(tar_bytes(members))
    assert set(images_by_caption(pack_folder(tmp_path / "existing", tmp_path / "shards"))) == {"a"}
    assert (
        "0.tar: skipped 2 members that belong to no sample: 'in/._a.jpg', 'in/._a.txt'"
        in capfd.readouterr().err
    )


def test_member_names_are_split_as_in_webdataset() -> None:
    rng = random.Random(3)
    for _ in range(20_000):
        name = "".join(rng.choice(["a", "B", ".", "/", "_", "__", "jpg"]) for _ in range(rng.randint(1, 9)))
        base = name.rpartition("/")[2]
        if not name.strip("/") or ("/" in name and base.startswith("._")):
            continue
        key, suffix = tariterators.base_plus_ext(name)
        is_metadata = tariterators.re.match(r"__[^/]*__($|/)", name)
        expected = None if key is None or is_metadata else (key, suffix.lower())
        assert key_and_suffix(name) == expected, name


def test_members_are_grouped_as_in_webdataset(tmp_path: Path) -> None:
    rng = random.Random(5)
    keys = ["a", "a.b", "x/a", "x.y/a", "x/.h", ".h", "B", "x/y/z", "__m__", "__m__/k", "_"]
    for number in range(200):
        names = [
            f"{rng.choice(keys)}.{rng.choice(['jpg', 'JPG', 'txt', 'seg.png', 'json'])}" for _ in range(12)
        ]
        tar = tmp_path / f"{number}.tar"
        tar.write_bytes(tar_bytes([(name, b"x") for name in names]))
        try:
            expected = webdataset_samples(tar)
        except ValueError:  # a name occurs twice in a sample, which webdataset rejects
            continue
        samples, _ = read_samples(tar)
        assert [(sample.key, {suffix for suffix, _ in sample.members}) for sample in samples] == expected


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("1.tar.gz", gzip.compress),
        ("1.tgz", gzip.compress),
        ("1.tar.bz2", bz2.compress),
        ("1.tar.xz", lzma.compress),
        ("1.TAR", lambda content: content),
        ("1.tar", gzip.compress),  # detected by content, as in webdataset
        ("1.tar.gz", lambda content: gzip.compress(content[:3000]) + gzip.compress(content[3000:])),
        (
            "1.tar.xz",
            lambda content: lzma.compress(content[:3000]) + lzma.compress(content[3000:]) + bytes(8),
        ),
    ],
)
def test_compressed_and_plain_tars_are_read(tmp_path: Path, name: str, compress: Callable) -> None:
    (tmp_path / "existing").mkdir()
    (tmp_path / "existing" / "0.tar").write_bytes(tar_bytes(image_and_caption("zero", 1)))
    members = [
        *image_and_caption("one", 2),
        ("two.png", encode_image(noise_image(3), "PNG")),
        ("two.txt", b"two"),
    ]
    (tmp_path / "existing" / name).write_bytes(compress(tar_bytes(members)))
    manifest = pack_folder(tmp_path / "existing", tmp_path / "shards")
    assert manifest_outcomes(manifest) == {"kept": 3}
    assert {caption: image for caption, image in images_by_caption(manifest).items() if caption != "two"} == {
        "zero": jpeg(1),
        "one": jpeg(2),
    }
    assert read_json(manifest)["tars"] == 2
    assert not (tmp_path / "shards" / "work").exists()


def test_tar_next_to_its_compressed_copy_is_packed_once(tmp_path: Path) -> None:
    (tmp_path / "existing").mkdir()
    content = tar_bytes(image_and_caption("a", 1) + image_and_caption("b", 2))
    (tmp_path / "existing" / "0.tar").write_bytes(content)
    (tmp_path / "existing" / "0.tar.gz").write_bytes(gzip.compress(content))
    assert manifest_outcomes(pack_folder(tmp_path / "existing", tmp_path / "shards")) == {
        "kept": 2,
        "duplicate_tar": 2,
    }


def test_links_are_followed_and_every_file_is_read_once(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    existing, elsewhere = tmp_path / "existing", tmp_path / "elsewhere"
    for folder, key in ((existing, "a"), (elsewhere / "deep", "b"), (tmp_path / "third", "c")):
        folder.mkdir(parents=True)
        (folder / f"{key}.tar").write_bytes(tar_bytes(image_and_caption(key, ord(key))))
    (existing / "linked").symlink_to(elsewhere)
    (existing / "again").symlink_to(elsewhere)
    (elsewhere / "deep" / "cycle").symlink_to(existing)
    (existing / "c.tar").symlink_to(tmp_path / "third" / "c.tar")
    (existing / "d.tar").hardlink_to(existing / "a.tar")
    (existing / "._a.tar").write_bytes(b"AppleDouble")
    (existing / "notes.txt").write_text("some notes")
    manifest = pack_folder(existing, tmp_path / "shards")
    assert set(images_by_caption(manifest)) == {"a", "b", "c"} and manifest_outcomes(manifest) == {"kept": 3}
    assert read_json(manifest)["files_not_read"][0] == "._a.tar"
    stderr = capfd.readouterr().err
    assert "3 files are not read" in stderr
    assert "'._a.tar'" in stderr and "'notes.txt'" in stderr and "'d.tar (the same file as a.tar)'" in stderr


def test_folder_may_be_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "0.tar").write_bytes(tar_bytes(image_and_caption("a", 1)))
    (tmp_path / "existing").symlink_to("disk")
    assert manifest_outcomes(pack_folder(tmp_path / "existing", tmp_path / "shards")) == {"kept": 1}


def test_broken_links_and_unsupported_compressions_raise_input_error(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(tar_bytes(image_and_caption("a", 1)))
    (tmp_path / "1.tar").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"1\.tar: broken symbolic link"):
        webdataset_source([tmp_path], 1000)
    (tmp_path / "1.tar").unlink()
    (tmp_path / "2.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(InputError, match=r"2\.tar\.zst: unsupported compression"):
        webdataset_source([tmp_path], 1000)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_truncated_compressed_tar_raises_input_error(tmp_path: Path, compress: Callable) -> None:
    (tmp_path / "existing").mkdir()
    complete = compress(tar_bytes(image_and_caption("a", 1)))
    for content in (complete[:-20], complete[: len(complete) // 2]):
        (tmp_path / "existing" / "0.tar.gz").write_bytes(content)
        with pytest.raises(InputError, match=r"0\.tar\.gz: damaged"):
            pack_folder(tmp_path / "existing", tmp_path / "shards")


def test_decompression_bomb_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloob.shards.webdataset_tars._EXPANSION_ALLOWANCE", 0)
    (tmp_path / "existing").mkdir()
    (tmp_path / "existing" / "0.tar.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(InputError, match=r"0\.tar\.gz: .* it expands more than 100-fold"):
        pack_folder(tmp_path / "existing", tmp_path / "shards")
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    (tmp_path / "existing" / "0.tar.gz").write_bytes(lzma.compress(b"x" * 1000, filters=filters))
    with pytest.raises(InputError, match=r"0\.tar\.gz: damaged \(Memory usage limit exceeded"):
        pack_folder(tmp_path / "existing", tmp_path / "shards")


def test_concatenated_tars_raise_input_error(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(
        tar_bytes(image_and_caption("a", 1)) + tar_bytes(image_and_caption("b", 2))
    )
    with pytest.raises(InputError, match=r"data after the end-of-archive marker at byte .*concatenated tars"):
        read_samples(tmp_path / "0.tar")


@pytest.mark.parametrize("compress", [gzip.compress, lambda content: content])
def test_error_names_the_compressed_tar_not_its_decompressed_copy(tmp_path: Path, compress: Callable) -> None:
    header = special_member("x", tarfile.XHDTYPE).tobuf()
    (tmp_path / "existing").mkdir()
    for content in (header * 1_500, tar_bytes(image_and_caption("a", 1)) * 2):
        (tmp_path / "existing" / "0.tar.gz").write_bytes(compress(content))
        with pytest.raises(InputError, match=r"/existing/0\.tar\.gz: damaged \((too many|data after)"):
            pack_folder(tmp_path / "existing", tmp_path / "shards")


@pytest.mark.parametrize("record", [b"13 size=-512\n", b"26 GNU.sparse.realsize=-5\n"])
def test_negative_size_is_rejected(tmp_path: Path, record: bytes) -> None:
    header = special_member("pax", tarfile.XHDTYPE)
    header.size = len(record)
    content = header.tobuf() + record.ljust(512, b"\0") + tar_bytes(image_and_caption("a", 1))
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tar: damaged \(a member of -"):
        read_samples(tmp_path / "a.tar")


def test_overlong_member_name_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(tar_bytes([("x/" * 3000 + "a.jpg", b"")]))
    with pytest.raises(InputError, match=r"0\.tar: rejected, a member name has 6,005 characters"):
        read_samples(tmp_path / "0.tar")


def test_file_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.tar")).write_bytes(tar_bytes(image_and_caption("a", 1)))
    (folder / os.fsdecode(b"\xfe.txt")).write_text("other")
    assert manifest_outcomes(pack_folder(folder, tmp_path / "shards")) == {"kept": 1}


def test_size_and_aspect_ratio_limits_match_the_download(tmp_path: Path) -> None:
    policy = replace(POLICY, image_size=64, min_size=16, max_aspect_ratio=3.0)
    images = {
        "unchanged": jpeg(1, width=64, height=48),
        "wide": jpeg(2, width=200, height=100),
        "tall": encode_image(noise_image(3, width=100, height=200), "PNG"),
        "gray": jpeg(4, mode="L", width=128, height=96),
        "spacer": jpeg(5, width=20, height=15),
        "banner": jpeg(6, width=97, height=32),
    }
    members = [
        member
        for number, (caption, image) in enumerate(images.items())
        for member in ((f"{number}.jpg", image), (f"{number}.txt", caption.encode()))
    ]
    (tmp_path / "existing").mkdir()
    (tmp_path / "existing" / "0.tar").write_bytes(tar_bytes(members))
    manifest = pack_folder(tmp_path / "existing", tmp_path / "shards", policy)
    assert manifest_outcomes(manifest) == {"kept": 4, "too_small": 1, "aspect_ratio": 1}
    images_out = images_by_caption(manifest)
    assert images_out["unchanged"] == images["unchanged"]
    sizes = {caption: Image.open(io.BytesIO(image)).size for caption, image in images_out.items()}
    assert sizes == {"unchanged": (64, 48), "wide": (64, 32), "tall": (32, 64), "gray": (64, 48)}
    kept = pq.read_table(tmp_path / "shards" / "000000.parquet", columns=["width", "height"]).to_pylist()
    assert sorted((row["width"], row["height"]) for row in kept) == sorted(sizes.values())


def test_cli_applies_size_limits_to_existing_shards(tmp_path: Path) -> None:
    (tmp_path / "existing").mkdir()
    (tmp_path / "existing" / "0.tar").write_bytes(tar_bytes(image_and_caption("a", 1)))  # 48 × 32
    for options, outcomes in (([], {"kept": 1}), (["--min-size=33"], {"too_small": 1, "kept": 0})):
        out = tmp_path / f"shards{len(options)}"
        arguments = (
            f"shards pack --webdataset {tmp_path / 'existing'} --out {out} --outcomes {out}/outcomes.csv"
        )
        arguments += " --samples-per-shard 10 --seed 1 --max-bytes 100000 --max-pixels 100000"
        with pytest.raises(SystemExit) as exited:
            main([*arguments.split(), "--quality=95", "--processes=1", *options])
        assert exited.value.code == (0 if outcomes["kept"] else 2)
