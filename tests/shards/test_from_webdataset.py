"""Shards that somebody froze, honest ones and hostile ones: every sample in exactly one place."""

import io
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
from cloob.shards.verify import verify
from tests.helpers.packing import RULES, by_caption, files_of, outcomes_of, pack_source
from tests.helpers.sample_images import encoded, jpeg, noise

Member = tuple[str | tarfile.TarInfo, bytes]


def freeze(tar: Path, members: list[Member]) -> Path:
    """A tar of these members, in this order."""
    tar.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tar, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return tar.parent


def pack_frozen(folder: Path, out: Path, **more: object) -> Path:
    return pack_source(webdataset_source(folder, RULES.max_bytes), out, **more)  # type: ignore[arg-type]


def outcomes_by_row(manifest: Path) -> list[str]:
    return pq.read_table(manifest.with_name("ledger.parquet"))["outcome"].to_pylist()


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_captions_come_from_text_or_json_and_images_of_any_form(tmp_path: Path) -> None:
    freeze(
        tmp_path / "frozen" / "00000.tar",
        [
            ("a.jpg", jpeg(1)),
            ("a.txt", b"one"),
            ("a.json", b'{"url": "http://x.example/1", "similarity": 0.3}'),
        ],
    )
    freeze(
        tmp_path / "frozen" / "more" / "00001.tar",
        [
            ("a.png", encoded(noise(2), "PNG")),
            ("a.json", json.dumps({"caption": "two"}).encode()),
            ("deep/er/b.x.JPEG", b"ignored: suffix x.jpeg"),
            ("deep/er/c.JPEG", jpeg(3)),
            ("deep/er/c.cls", b"7"),
            ("deep/er/c.txt", "dr\u00e9i".encode()),
            ("d.webp", encoded(noise(4), "WEBP")),
            ("d.txt", b"four"),
            ("e.jpg", jpeg(5)),
            ("e.json", b'{"caption": "five", "similarity": NaN}'),
        ],
    )
    manifest = pack_frozen(tmp_path / "frozen", tmp_path / "shards")
    assert outcomes_of(manifest) == {"kept": 5, "no_image": 1}
    images = by_caption(manifest)
    assert set(images) == {"one", "two", "dréi", "four", "five"}
    assert (images["one"], images["dréi"]) == (jpeg(1), jpeg(3))
    assert "5 samples" in verify(manifest, manifest.with_name("outcomes.csv"), 1)
    with tarfile.open(manifest.with_name("000000.tar")) as tar:
        record = json.loads(tar.extractfile("000000_000000.json").read())  # type: ignore[union-attr]
    assert record["key"] == "a" and record["tar"] == "00000.tar" and record["url"] == "http://x.example/1"
    assert record["json"] == {"url": "http://x.example/1", "similarity": 0.3}


DEEP = b"[" * 980 + b"]" * 980  # as deeply as Python reads, or nearly so
HOSTILE: list[tuple[str, list[Member]]] = [
    ("kept", [("good.jpg", jpeg(1)), ("good.txt", b"good")]),
    ("unsafe_name", [("../../etc/passwd.jpg", jpeg(2)), ("../../etc/passwd.txt", b"up and away")]),
    ("unsafe_name", [("/abs.jpg", jpeg(3)), ("/abs.txt", b"absolute")]),
    ("unsafe_name", [("a\\..\\b.jpg", jpeg(4)), ("a\\..\\b.txt", b"backslash")]),
    ("unsafe_name", [("line\nbreak.jpg", jpeg(5)), ("line\nbreak.txt", b"control")]),
    ("unsafe_name", [("lone\udcff.jpg", jpeg(6)), ("lone\udcff.txt", b"not UTF-8")]),
    ("duplicate_key", [("good.jpg", jpeg(7)), ("good.txt", b"a second good")]),
    ("duplicate_key", [("twice.jpg", jpeg(8)), ("twice.jpg", jpeg(9)), ("twice.txt", b"two images")]),
    ("no_caption", [("mute.jpg", jpeg(10))]),
    ("no_caption", [("mute2.jpg", jpeg(11)), ("mute2.json", b'{"caption": null}')]),
    ("empty_caption", [("blank.jpg", jpeg(12)), ("blank.txt", b" \x00\n")]),
    ("not_utf8", [("latin.jpg", jpeg(13)), ("latin.txt", b"caf\xe9")]),
    ("not_utf8", [("half.jpg", jpeg(14)), ("half.json", b'{"caption": "half a pair \\ud800"}')]),
    ("bad_json", [("torn.jpg", jpeg(15)), ("torn.txt", b"x"), ("torn.json", b'{"caption": ')]),
    ("bad_json", [("inf.jpg", jpeg(21)), ("inf.json", b'{"caption": "more than any float", "x": 1e999}')]),
    ("bad_json", [("deep.jpg", jpeg(22)), ("deep.json", b'{"caption": "x", "x":' + DEEP + b"}")]),
    ("bad_json", [("nest.jpg", jpeg(16)), ("nest.json", b"[" * 100_000)]),
    ("no_image", [("words.txt", b"only words")]),
    ("too_many_bytes", [("huge.jpg", jpeg(17) + bytes(10_000_000)), ("huge.txt", b"huge")]),
    ("too_many_bytes", [("novel.jpg", jpeg(18)), ("novel.txt", b"x" * 10_000_001)]),
    ("not_a_file", [(link("soft.jpg", tarfile.SYMTYPE, "/etc/passwd"), b""), ("soft.txt", b"link")]),
    ("not_a_file", [(link("hard.jpg", tarfile.LNKTYPE, "good.jpg"), b""), ("hard.txt", b"link")]),
    ("not_an_image", [("page.jpg", b"<html>"), ("page.txt", b"a page")]),
    ("truncated_image", [("cut.jpg", jpeg(19)[:-200]), ("cut.txt", b"cut")]),
    ("kept", [("after.jpg", jpeg(20)), ("after.txt", b"after all that")]),
]


def test_hostile_shards_end_as_counted_refusals(tmp_path: Path) -> None:
    folder = freeze(tmp_path / "frozen" / "0.tar", [one for _, members in HOSTILE for one in members])
    before = files_of(tmp_path)
    manifest = pack_frozen(folder, tmp_path / "shards")
    assert outcomes_by_row(manifest) == [outcome for outcome, _ in HOSTILE]
    assert sum(outcomes_of(manifest).values()) == len(HOSTILE)
    assert by_caption(manifest) == {"good": jpeg(1), "after all that": jpeg(20)}
    verify(manifest, manifest.with_name("outcomes.csv"), 1)
    assert {name: content for name, content in files_of(tmp_path).items() if "shards" not in name} == before


def test_the_same_key_in_two_tars_is_two_samples(tmp_path: Path) -> None:
    for number in range(2):
        members: list[Member] = [("0.jpg", jpeg(number)), ("0.txt", f"picture {number}".encode())]
        freeze(tmp_path / "frozen" / f"{number}.tar", members)
    assert outcomes_of(pack_frozen(tmp_path / "frozen", tmp_path / "shards")) == {"kept": 2}


def test_our_own_shards_can_be_packed_again(tmp_path: Path) -> None:
    members = [(f"{n}.{s}", c) for n in range(5) for s, c in (("jpg", jpeg(n)), ("txt", b"picture %d" % n))]
    one = pack_frozen(freeze(tmp_path / "frozen" / "0.tar", members), tmp_path / "one")
    two = pack_frozen(one.parent, tmp_path / "two")
    assert by_caption(one) == by_caption(two)


def test_they_are_packed_by_the_command_line(tmp_path: Path) -> None:
    folder = freeze(tmp_path / "frozen" / "0.tar", [("a.jpg", jpeg(1)), ("a.txt", b"one")])
    out = tmp_path / "shards"
    arguments = (
        f"shards pack --ready-made {folder} --out {out} --outcomes {out}/outcomes.csv --samples-per-shard 10"
    )
    arguments += " --seed 1 --max-bytes 100000 --max-pixels 100000 --quality 95 --processes 1"
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 0 and by_caption(out / "shards.json") == {"one": jpeg(1)}


@pytest.mark.parametrize(("frozen", "out"), [("frozen", "frozen"), ("frozen", "frozen/x"), ("x/work", "x")])
def test_shards_that_somebody_froze_are_never_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frozen: str, out: str
) -> None:
    folder = freeze(tmp_path / frozen / "7.tar", [("a.jpg", jpeg(1)), ("a.txt", b"one")])
    before = files_of(tmp_path)
    arguments = f"shards pack --ready-made {folder} --out {tmp_path / out} --outcomes {tmp_path}/outcomes.csv"
    arguments += " --samples-per-shard 10 --seed 1 --max-bytes 100000 --max-pixels 100000"
    with pytest.raises(SystemExit) as ended:
        main([*arguments.split(), "--quality", "95", "--processes", "1"])
    assert ended.value.code == 2 and "name another --out" in capsys.readouterr().err
    assert files_of(tmp_path) == before


def test_a_torn_tar_is_an_error(tmp_path: Path) -> None:
    folder = freeze(tmp_path / "frozen" / "0.tar", [("a.jpg", jpeg(1)), ("a.txt", b"one")])
    tar = folder / "0.tar"
    tar.write_bytes(tar.read_bytes()[:700])
    with pytest.raises(InputError, match=r"0\.tar"):
        pack_frozen(folder, tmp_path / "shards")


@pytest.mark.parametrize("change", [lambda tar: tar[:2048], lambda tar: tar[:2048] + b"x" + tar[2049:]])
def test_a_tar_that_ends_before_its_end_mark_is_an_error(tmp_path: Path, change: Callable) -> None:
    members: list[Member] = [(f"{n}.{s}", b"x") for n in range(3) for s in ("jpg", "txt")]
    tar = freeze(tmp_path / "frozen" / "0.tar", members) / "0.tar"
    tar.write_bytes(change(tar.read_bytes()))
    with pytest.raises(InputError, match="neither a header nor the end mark at byte 2,048"):
        pack_frozen(tar.parent, tmp_path / "shards")


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b" + bytes(100), b"<html>" * 200])
def test_what_is_no_tar_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "0.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"0\.tar: damaged"):
        pack_frozen(tmp_path / "frozen", tmp_path / "shards")


def test_a_folder_without_tars_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \*\.tar"):
        webdataset_source(tmp_path, 1000)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_without_end_is_refused_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    header = link("a.jpg", kind, "")
    header.size = 64_000_000
    tar = freeze(tmp_path / "frozen" / "0.tar", [("a.jpg", jpeg(1)), ("a.txt", b"one")]) / "0.tar"
    content = header.tobuf(tarfile.GNU_FORMAT) + bytes(header.size) + tar.read_bytes()
    tar.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"0\.tar: a header of more than 1,048,576 bytes"):
            webdataset_source(tmp_path / "frozen", RULES.max_bytes).pieces[0].rows(tmp_path / "work")
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_byte_order_mark_is_no_part_of_a_caption(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    members = [
        ("a.jpg", jpeg(1)),
        ("a.txt", mark + b"one"),
        ("b.jpg", jpeg(2)),
        ("b.json", mark + b'{"caption": "two"}'),
    ]
    rows = (
        webdataset_source(freeze(tmp_path / "0.tar", members), RULES.max_bytes)
        .pieces[0]
        .rows(tmp_path / "work")
    )
    assert [row.caption for row in rows] == ["one", "two"]
