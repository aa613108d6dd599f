"""From img2dataset's tars to shards: nothing lost, nothing damaged, the same bytes each time."""

import io
import tarfile
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import webdataset

from cloob.download.fates import read_fates, write_fates
from cloob.errors import InputError
from cloob.files import read_json
from cloob.shards.pack import pack
from cloob.shards.reader import Shards

ROWS = 23
PER_SHARD = 10


def pack_folder(folder: Path, out: str = "shards", processes: int = 1) -> Path:
    fates = folder / out / "fates.csv"
    pack(folder / "images", folder / "images_fates.csv", folder / out, fates, PER_SHARD, processes)
    return folder / out


def damage(folder: Path, part: str, change: dict[int, bytes]) -> list[str]:
    """Replace the nth images of img2dataset's tar; return their captions."""
    path, captions = folder / "images" / f"{part}.tar", []
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    images = [number for number, (member, _) in enumerate(members) if member.name.endswith(".jpg")]
    for nth, content in change.items():
        member, _ = members[images[nth]]
        member.size = len(content)
        members[images[nth]] = member, content
        captions += [
            text.decode() for other, text in members if other.name == member.name.replace(".jpg", ".txt")
        ]
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return captions


def image_of(folder: Path, part: str, nth: int) -> bytes:
    with tarfile.open(folder / "images" / f"{part}.tar") as tar:
        member = [member for member in tar if member.name.endswith(".jpg")][nth]
        return tar.extractfile(member).read()  # type: ignore[union-attr]


def test_the_manifest_says_which_list_of_links_the_corpus_is_of(fetched_folder: Path) -> None:
    manifest = read_json(pack_folder(fetched_folder) / "shards.json")
    assert manifest["links_sha256"] == sha256((fetched_folder / "links.parquet").read_bytes()).hexdigest()


def test_every_image_comes_through_in_the_order_of_the_list(fetched_folder: Path) -> None:
    out = pack_folder(fetched_folder)
    shards = Shards(out / "shards.json")
    samples = [shards.sample(index) for index in range(len(shards))]
    assert [caption for _, caption, _ in samples] == [f"picture {number} of „Köln“" for number in range(ROWS)]
    assert [key for *_, key in samples] == [f"{number:09d}" for number in range(1, ROWS + 1)]
    for number, (image, *_) in enumerate(samples):
        if number % 3 == 2:  # CMYK, which img2dataset turns into RGB
            continue
        assert image == (fetched_folder / "www" / f"{number}.jpg").read_bytes()
    assert read_fates(out / "fates.csv") == {"kept": ROWS}


# webdataset leaves the closing of its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_index_gives_exactly_what_tarfile_and_webdataset_give(fetched_folder: Path) -> None:
    out = pack_folder(fetched_folder)
    tars = sorted(out.glob("*.tar"))
    assert [tar.name for tar in tars] == ["000000.tar", "000001.tar", "000002.tar"]
    read_by_webdataset = [
        sample
        for tar in tars
        for sample in webdataset.WebDataset(str(tar), shardshuffle=False, empty_check=False)
    ]
    row = 0
    for tar in tars:
        content = tar.read_bytes()
        index = pq.read_table(tar.with_suffix(".parquet")).to_pylist()
        with tarfile.open(tar) as members:
            for entry in index:
                image = content[entry["image_offset"] :][: entry["image_length"]]
                text = content[entry["caption_offset"] :][: entry["caption_length"]]
                assert image == members.extractfile(f"{entry['key']}.jpg").read()  # type: ignore[union-attr]
                assert text == members.extractfile(f"{entry['key']}.txt").read()  # type: ignore[union-attr]
                assert sha256(image).hexdigest() == entry["sha256"]
                sample = read_by_webdataset[row]
                assert (sample["__key__"], sample["jpg"], sample["txt"]) == (entry["key"], image, text)
                row += 1
    assert row == len(read_by_webdataset) == ROWS


def test_the_manifest_describes_the_shards(fetched_folder: Path) -> None:
    out = pack_folder(fetched_folder)
    manifest = read_json(out / "shards.json")
    assert manifest["samples"] == ROWS
    assert [shard["samples"] for shard in manifest["shards"]] == [10, 10, 3]
    for shard in manifest["shards"]:
        content = (out / shard["name"]).read_bytes()
        assert (len(content), sha256(content).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert manifest["bytes"] == sum(shard["bytes"] for shard in manifest["shards"])
    assert manifest["statistics"]["width"] == {"minimum": 40, "median": 60, "mean": 53.913, "maximum": 60}
    assert manifest["statistics"]["caption_words"]["maximum"] == 4


def test_the_same_images_give_the_same_bytes(fetched_folder: Path) -> None:
    one, two = pack_folder(fetched_folder, "one"), pack_folder(fetched_folder, "two", processes=2)
    names = sorted(file.name for file in one.iterdir())
    assert names == sorted(file.name for file in two.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_what_does_not_decode_is_refused_with_its_reason(fetched_folder: Path) -> None:
    whole = image_of(fetched_folder, "00000", 1)
    bad = damage(
        fetched_folder,
        "00000",
        {0: b"<!DOCTYPE html>", 1: whole[:-300], 2: whole[:20] + b"\xff\xd9", 3: b"\x89PNG\r\n\x1a\n"},
    )
    out = pack_folder(fetched_folder)
    fates = read_fates(out / "fates.csv")
    assert fates["kept"] == ROWS - 4
    assert fates["not_jpeg"] >= 2 and fates["truncated_image"] >= 1
    assert sum(fates.values()) == ROWS
    shards = Shards(out / "shards.json")
    assert not {shards.caption(index) for index in range(len(shards))} & set(bad)


def test_leftovers_of_an_earlier_run_are_gone(fetched_folder: Path) -> None:
    out = fetched_folder / "shards"
    out.mkdir()
    for name in ("000007.tar", "000007.parquet", ".000001.4711.tar", "shards.json"):
        (out / name).touch()
    pack_folder(fetched_folder)
    assert {file.name for file in out.iterdir()} == {
        "shards.json",
        "fates.csv",
        *(f"00000{number}.{suffix}" for number in range(3) for suffix in ("tar", "parquet")),
    }


def test_a_lost_part_is_an_error(fetched_folder: Path) -> None:
    (fetched_folder / "images" / "00001_stats.json").unlink()
    with pytest.raises(InputError, match="do not balance"):
        pack_folder(fetched_folder)
    assert not (fetched_folder / "shards" / "shards.json").exists()


def test_a_torn_tar_is_an_error(fetched_folder: Path) -> None:
    tar = fetched_folder / "images" / "00001.tar"
    tar.write_bytes(tar.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"00001\.tar"):
        pack_folder(fetched_folder)


def test_no_images_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    write_fates(tmp_path / "images_fates.csv", {"http_404": 3}, 3)
    with pytest.raises(InputError, match="no image to pack"):
        pack_folder(tmp_path)
