"""Packing existing webdataset shards, valid and hostile ones: every sample has exactly one outcome."""

import json
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cloob.cli import main
from cloob.common.errors import InputError
from cloob.shards.from_webdataset import webdataset_source
from cloob.shards.reader import Shards
from cloob.shards.verify import verify
from tests.helpers.packing import POLICY, file_contents, images_by_caption, manifest_outcomes, pack_source
from tests.helpers.sample_images import encode_image, jpeg, noise_image
from tests.helpers.webdataset_tars import Member, image_and_caption, special_member, write_tar


def pack_webdataset(folder: Path, out: Path, **options: object) -> Path:
    return pack_source(webdataset_source([folder], POLICY.max_bytes), out, **options)  # type: ignore[arg-type]


def row_outcomes(manifest: Path) -> list[str]:
    return pq.read_table(manifest.with_name("ledger.parquet"))["outcome"].to_pylist()


def test_captions_are_read_from_txt_or_json_and_images_from_any_format(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "existing" / "00000.tar",
        [
            ("a.jpg", jpeg(1)),
            ("a.txt", b"one"),
            ("a.json", b'{"url": "http://x.example/1", "similarity": 0.3}'),
        ],
    )
    write_tar(
        tmp_path / "existing" / "more" / "00001.tar",
        [
            ("a.png", encode_image(noise_image(2), "PNG")),
            ("a.json", json.dumps({"caption": "two"}).encode()),
            ("deep/er/b.x.JPEG", b"not an image: suffix x.jpeg"),
            ("deep/er/c.JPEG", jpeg(3)),
            ("deep/er/c.cls", b"7"),
            ("deep/er/c.txt", "dr\u00e9i".encode()),
            ("d.webp", encode_image(noise_image(4), "WEBP")),
            ("d.txt", b"four"),
            ("e.jpg", jpeg(5)),
            ("e.json", b'{"caption": "five", "similarity": NaN}'),
        ],
    )
    manifest = pack_webdataset(tmp_path / "existing", tmp_path / "shards")
    assert manifest_outcomes(manifest) == {"kept": 5, "no_image": 1}
    images = images_by_caption(manifest)
    assert set(images) == {"one", "two", "dréi", "four", "five"}
    assert (images["one"], images["dréi"]) == (jpeg(1), jpeg(3))
    assert "5 samples" in verify(manifest, manifest.with_name("outcomes.csv"), 1)
    with tarfile.open(manifest.with_name("000000.tar")) as tar:
        record = json.loads(tar.extractfile("000000_000000.json").read())  # type: ignore[union-attr]
    assert record["key"] == "a" and record["tar"] == "00000.tar" and record["url"] == "http://x.example/1"
    assert record["json"] == {"url": "http://x.example/1", "similarity": 0.3}


DEEP = b"[" * 980 + b"]" * 980  # close to Python's recursion limit
HOSTILE: list[tuple[str, list[Member]]] = [
    ("kept", [("good.jpg", jpeg(1)), ("good.txt", b"good")]),
    ("unsafe_name", [("../../etc/passwd.jpg", jpeg(2)), ("../../etc/passwd.txt", b"path traversal")]),
    ("unsafe_name", [("/abs.jpg", jpeg(3)), ("/abs.txt", b"absolute")]),
    ("unsafe_name", [("a\\..\\b.jpg", jpeg(4)), ("a\\..\\b.txt", b"backslash")]),
    ("unsafe_name", [("line\nbreak.jpg", jpeg(5)), ("line\nbreak.txt", b"control")]),
    ("unsafe_name", [("lone\udcff.jpg", jpeg(6)), ("lone\udcff.txt", b"not UTF-8")]),
    ("duplicate_key", [("good.jpg", jpeg(7)), ("good.txt", b"a second good")]),
    ("duplicate_key", [("twice.jpg", jpeg(8)), ("twice.jpg", jpeg(9)), ("twice.txt", b"two images")]),
    ("no_caption", [("uncaptioned.jpg", jpeg(10))]),
    ("no_caption", [("null.jpg", jpeg(11)), ("null.json", b'{"caption": null}')]),
    ("empty_caption", [("blank.jpg", jpeg(12)), ("blank.txt", b" \x00\n")]),
    ("not_utf8", [("latin.jpg", jpeg(13)), ("latin.txt", b"caf\xe9")]),
    ("not_utf8", [("surrogate.jpg", jpeg(14)), ("surrogate.json", b'{"caption": "unpaired \\ud800"}')]),
    ("bad_json", [("cut_off.jpg", jpeg(15)), ("cut_off.txt", b"x"), ("cut_off.json", b'{"caption": ')]),
    ("bad_json", [("inf.jpg", jpeg(21)), ("inf.json", b'{"caption": "overflows a float", "x": 1e999}')]),
    ("bad_json", [("deep.jpg", jpeg(22)), ("deep.json", b'{"caption": "x", "x":' + DEEP + b"}")]),
    ("bad_json", [("nest.jpg", jpeg(16)), ("nest.json", b"[" * 100_000)]),
    ("no_image", [("text.txt", b"only a caption")]),
    ("too_many_bytes", [("huge.jpg", jpeg(17) + bytes(10_000_000)), ("huge.txt", b"huge")]),
    ("too_many_bytes", [("novel.jpg", jpeg(18)), ("novel.txt", b"x" * 10_000_001)]),
    (
        "not_a_file",
        [(special_member("soft.jpg", tarfile.SYMTYPE, "/etc/passwd"), b""), ("soft.txt", b"link")],
    ),
    ("not_a_file", [(special_member("hard.jpg", tarfile.LNKTYPE, "good.jpg"), b""), ("hard.txt", b"link")]),
    ("not_an_image", [("page.jpg", b"<html>"), ("page.txt", b"a page")]),
    ("truncated_image", [("cut.jpg", jpeg(19)[:-200]), ("cut.txt", b"cut")]),
    ("kept", [("after.jpg", jpeg(20)), ("after.txt", b"after hostile samples")]),
]


def test_hostile_samples_are_rejected_with_their_outcome(tmp_path: Path) -> None:
    folder = write_tar(
        tmp_path / "existing" / "0.tar", [member for _, members in HOSTILE for member in members]
    )
    before = file_contents(tmp_path)
    manifest = pack_webdataset(folder, tmp_path / "shards")
    assert row_outcomes(manifest) == [outcome for outcome, _ in HOSTILE]
    assert sum(manifest_outcomes(manifest).values()) == len(HOSTILE)
    assert images_by_caption(manifest) == {"good": jpeg(1), "after hostile samples": jpeg(20)}
    verify(manifest, manifest.with_name("outcomes.csv"), 1)
    assert {
        name: content for name, content in file_contents(tmp_path).items() if "shards" not in name
    } == before


def test_same_key_in_two_tars_gives_two_samples(tmp_path: Path) -> None:
    for number in range(2):
        members: list[Member] = [("0.jpg", jpeg(number)), ("0.txt", f"image {number}".encode())]
        write_tar(tmp_path / "existing" / f"{number}.tar", members)
    assert manifest_outcomes(pack_webdataset(tmp_path / "existing", tmp_path / "shards")) == {"kept": 2}


def test_packed_shards_can_be_packed_again(tmp_path: Path) -> None:
    members = [member for n in range(5) for member in image_and_caption(str(n), n)]
    packed = pack_webdataset(write_tar(tmp_path / "existing" / "0.tar", members), tmp_path / "packed")
    repacked = pack_webdataset(packed.parent, tmp_path / "repacked")
    assert images_by_caption(packed) == images_by_caption(repacked)


def test_cli_packs_several_folders_in_order(tmp_path: Path) -> None:
    folders = [
        write_tar(tmp_path / "b" / "0.tar", image_and_caption("a", 1, "one")),
        write_tar(tmp_path / "a" / "0.tar", image_and_caption("a", 2, "two")),
        write_tar(tmp_path / "a" / "c" / "1.tar", image_and_caption("a", 3, "three")),  # below the second one
    ]
    out = tmp_path / "shards"
    arguments = f"--out {out} --outcomes {out}/outcomes.csv --samples-per-shard 10 --seed 1 --processes 1"
    arguments += " --max-bytes 100000 --max-pixels 100000 --quality 95"
    with pytest.raises(SystemExit) as exited:
        main(["shards", "pack", "--webdataset", *map(str, folders), *arguments.split()])
    assert exited.value.code == 0
    shards = Shards(out / "shards.json")
    samples = {shards.key(index): shards.sample(index) for index in range(len(shards))}
    assert samples == {
        "000000_000000": (jpeg(1), "one"),
        "000001_000000": (jpeg(2), "two"),
        "000002_000000": (jpeg(3), "three"),
    }
    with tarfile.open(out / "000000.tar") as tar:
        record = json.loads(tar.extractfile("000002_000000.json").read())  # type: ignore[union-attr]
    assert record["tar"] == "a/c/1.tar"  # relative to the common parent directory


@pytest.mark.parametrize(("existing", "out"), [("a", "a"), ("a", "a/x"), ("x/work", "x")])
def test_output_folder_may_not_overlap_the_existing_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], existing: str, out: str
) -> None:
    folder = write_tar(tmp_path / existing / "7.tar", [("a.jpg", jpeg(1)), ("a.txt", b"one")])
    before = file_contents(tmp_path)
    arguments = f"shards pack --webdataset {folder} --out {tmp_path / out} --outcomes {tmp_path}/outcomes.csv"
    arguments += " --samples-per-shard 10 --seed 1 --max-bytes 100000 --max-pixels 100000"
    with pytest.raises(SystemExit) as exited:
        main([*arguments.split(), "--quality", "95", "--processes", "1"])
    assert exited.value.code == 2 and "give another --out" in capsys.readouterr().err
    assert file_contents(tmp_path) == before


def test_truncated_tar_raises_input_error(tmp_path: Path) -> None:
    folder = write_tar(tmp_path / "existing" / "0.tar", [("a.jpg", jpeg(1)), ("a.txt", b"one")])
    tar = folder / "0.tar"
    tar.write_bytes(tar.read_bytes()[:700])
    with pytest.raises(InputError, match=r"0\.tar"):
        pack_webdataset(folder, tmp_path / "shards")


@pytest.mark.parametrize("change", [lambda tar: tar[:2048], lambda tar: tar[:2048] + b"x" + tar[2049:]])
def test_tar_without_end_of_archive_marker_raises_input_error(tmp_path: Path, change: Callable) -> None:
    members: list[Member] = [(f"{n}.{s}", b"x") for n in range(3) for s in ("jpg", "txt")]
    tar = write_tar(tmp_path / "existing" / "0.tar", members) / "0.tar"
    tar.write_bytes(change(tar.read_bytes()))
    with pytest.raises(InputError, match="neither a header nor the end-of-archive marker at byte 2,048"):
        pack_webdataset(tar.parent, tmp_path / "shards")


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b" + bytes(100), b"<html>" * 200])
def test_file_that_is_not_a_tar_raises_input_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "existing").mkdir()
    (tmp_path / "existing" / "0.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"0\.tar: damaged"):
        pack_webdataset(tmp_path / "existing", tmp_path / "shards")


def test_folder_without_tars_raises_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"contains no \*\.tar"):
        webdataset_source([tmp_path], 1000)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_oversized_header_is_rejected_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    header = special_member("a.jpg", kind, "")
    header.size = 64_000_000
    tar = write_tar(tmp_path / "existing" / "0.tar", [("a.jpg", jpeg(1)), ("a.txt", b"one")]) / "0.tar"
    content = header.tobuf(tarfile.GNU_FORMAT) + bytes(header.size) + tar.read_bytes()
    tar.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"0\.tar: .*a header of more than 1,048,576 bytes"):
            webdataset_source([tmp_path / "existing"], POLICY.max_bytes).chunks[0].samples(tmp_path / "work")
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_byte_order_mark_is_stripped_from_captions(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    members = [
        ("a.jpg", jpeg(1)),
        ("a.txt", mark + b"one"),
        ("b.jpg", jpeg(2)),
        ("b.json", mark + b'{"caption": "two"}'),
    ]
    source = webdataset_source([write_tar(tmp_path / "0.tar", members)], POLICY.max_bytes)
    samples = source.chunks[0].samples(tmp_path / "work")
    assert [sample.caption for sample in samples] == ["one", "two"]
