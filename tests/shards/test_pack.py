"""From ledgers to shards: nothing lost, nothing damaged, one seeded order, the same bytes each time."""

import json
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import webdataset

from cloob.common.accounting import read_outcomes
from cloob.common.errors import InputError
from cloob.common.json_files import read_json
from cloob.shards import from_download as ledgers
from cloob.shards.from_download import download_source
from cloob.shards.reader import Shards
from cloob.shards.validate import shuffle_key
from tests.helpers.downloaded_parts import ROWS, caption, leave_download, uid
from tests.helpers.packing import by_caption, files_of, outcomes_of, pack_download
from tests.helpers.sample_images import jpeg

Download = tuple[list[Path], Path]


def test_every_image_comes_through_with_its_caption_and_its_bytes(download: Download, tmp_path: Path) -> None:
    manifest = pack_download(download, tmp_path / "shards")
    assert by_caption(manifest) == {
        caption(number): jpeg(number, mode="L" if number % 3 else "RGB", width=40 + number)
        for number in range(ROWS)
    }
    assert read_outcomes(manifest.with_name("outcomes.csv")) == outcomes_of(manifest) == {"kept": ROWS}


def test_the_order_is_a_function_of_seed_and_uid_alone(download: Download, tmp_path: Path) -> None:
    def keys(out: str, seed: int) -> list[str]:
        shards = Shards(pack_download(download, tmp_path / out, seed=seed))
        return [shards.sample(index)[2] for index in range(len(shards))]

    uids = [uid(row) for row in range(1, ROWS + 2) if row != 6]  # row 6 is gone
    assert keys("one", 1) == sorted(uids, key=lambda one: shuffle_key(1, one))
    assert keys("two", 2) == sorted(uids, key=lambda one: shuffle_key(2, one)) != keys("again", 1)


def test_a_refused_image_leaves_the_order_of_the_others(tmp_path: Path) -> None:
    rows = [(caption(number), jpeg(number)) for number in range(ROWS)]
    whole = Shards(pack_download(leave_download(tmp_path / "a", rows), tmp_path / "whole"))
    rows[7] = (caption(7), b"<!DOCTYPE html>")
    less = Shards(pack_download(leave_download(tmp_path / "b", rows), tmp_path / "less"))
    order = [whole.caption(index) for index in range(ROWS)]
    order.remove(caption(7))
    assert [less.caption(index) for index in range(ROWS - 1)] == order


# webdataset leaves the closing of its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_index_gives_exactly_what_tarfile_and_webdataset_give(download: Download, tmp_path: Path) -> None:
    out = pack_download(download, tmp_path / "shards").parent
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
        with tarfile.open(tar) as members:
            for entry in pq.read_table(tar.with_suffix(".parquet")).to_pylist():
                sample = read_by_webdataset[row]
                assert sample["__key__"] == entry["key"]
                for what, suffix in (("image", "jpg"), ("caption", "txt"), ("record", "json")):
                    found = content[entry[f"{what}_offset"] :][: entry[f"{what}_length"]]
                    member = members.extractfile(f"{entry['key']}.{suffix}")
                    assert found == member.read() == sample[suffix]  # type: ignore[union-attr]
                assert sha256(sample["jpg"]).hexdigest() == entry["sha256"]
                row += 1
    assert row == len(read_by_webdataset) == ROWS


def test_the_json_says_where_a_sample_is_from(tmp_path: Path) -> None:
    written = "Cafe\u0301 \u2028 at\u00a0noon\x07!"
    parts = leave_download(tmp_path / "download", [(written, jpeg(1, width=50))], parts=1)
    manifest = pack_download(parts, tmp_path / "shards")
    with tarfile.open(manifest.with_name("000000.tar")) as tar:
        record = json.loads(tar.extractfile(f"{uid(1)}.json").read())  # type: ignore[union-attr]
    assert record == {
        "uid": uid(1),
        "caption": written,
        "url": "http://pictures.example/1.jpg",
        "row": 1,
        "width": 50,
        "height": 32,
        "sha256": sha256(jpeg(1, width=50)).hexdigest(),
    }
    assert Shards(manifest).caption(0) == "Café at noon !"


def test_the_manifest_describes_the_shards(download: Download, tmp_path: Path) -> None:
    manifest = pack_download(download, tmp_path / "shards")
    said = read_json(manifest)
    assert said["samples"] == ROWS
    assert [shard["samples"] for shard in said["shards"]] == [10, 10, 3]
    for shard in said["shards"]:
        content = (manifest.parent / shard["name"]).read_bytes()
        assert (len(content), sha256(content).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert said["bytes"] == sum(shard["bytes"] for shard in said["shards"])
    assert said["urls_sha256"] == sha256(download[1].read_bytes()).hexdigest()
    width = said["statistics"]["width"]
    assert {name: width[name] for name in ("minimum", "median", "mean", "maximum")} == {
        "minimum": 40,
        "median": 51,
        "mean": 51,
        "maximum": 62,
    }
    assert sum(width["counts"]) == ROWS
    assert said["statistics"]["caption_words"]["maximum"] == 4


def test_the_ledger_has_every_row_that_came_in(download: Download, tmp_path: Path) -> None:
    manifest = pack_download(download, tmp_path / "shards")
    ledger = pq.read_table(manifest.with_name("ledger.parquet"))
    assert ledger["uid"].to_pylist() == [uid(row) for row in range(1, ROWS + 2) if row != 6]
    assert set(ledger["outcome"].to_pylist()) == {"kept"}


def test_the_same_images_give_the_same_bytes(download: Download, tmp_path: Path) -> None:
    one = pack_download(download, tmp_path / "one").parent
    two = pack_download(download, tmp_path / "two", processes=2).parent
    assert files_of(one) == files_of(two)


def test_images_of_the_validation_split_are_not_trained_on(download: Download, tmp_path: Path) -> None:
    again = jpeg(3, width=43)
    rows = [("another caption", again), ("fresh", jpeg(99)), ("fresh", jpeg(98)), ("twin", jpeg(98))]
    validation = pack_download(
        leave_download(tmp_path / "v", [("seen", again), ("seen twice", jpeg(98))]), tmp_path / "val"
    )
    manifest = pack_download(leave_download(tmp_path / "t", rows), tmp_path / "train", validation=validation)
    assert outcomes_of(manifest) == {"in_validation": 3, "kept": 1}
    assert by_caption(manifest) == {"fresh": jpeg(99)}
    ledger = pq.read_table(manifest.with_name("ledger.parquet")).to_pylist()
    assert [row["outcome"] for row in ledger] == ["in_validation", "kept", "in_validation", "in_validation"]


def test_other_duplicates_stay_and_are_counted(tmp_path: Path) -> None:
    rows = [("a", jpeg(1)), ("b", jpeg(1)), ("c", jpeg(1)), ("d", jpeg(2)), ("d", jpeg(2)), ("e", jpeg(3))]
    manifest = pack_download(leave_download(tmp_path / "download", rows), tmp_path / "shards")
    assert outcomes_of(manifest) == {"kept": 6}
    assert read_json(manifest)["statistics"]["duplicates"] == 3


def test_leftovers_of_an_earlier_run_are_gone(download: Download, tmp_path: Path) -> None:
    undisturbed = pack_download(download, tmp_path / "undisturbed").parent
    out = tmp_path / "shards"
    out.mkdir()
    for name in ("000007.tar", "000007.parquet", ".000001.4711.tar", "shards.json", "000001.tar"):
        (out / name).touch()
    assert files_of(pack_download(download, out).parent) == files_of(undisturbed)


def test_finished_shards_are_kept_and_others_are_written_anew(download: Download, tmp_path: Path) -> None:
    out = pack_download(download, tmp_path / "shards").parent
    before = files_of(out)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    (out / "000001.tar").write_bytes(b"torn")
    (out / "000002.parquet").unlink()
    assert files_of(pack_download(download, out).parent) == before
    kept = {path.name for path in out.glob("*.tar") if path.stat().st_mtime_ns == times[path.name]}
    assert kept == {"000000.tar"}


def test_another_seed_keeps_no_shard(download: Download, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    pack_download(download, out, seed=2)
    fresh = pack_download(download, tmp_path / "fresh").parent
    assert files_of(pack_download(download, out).parent) == files_of(fresh)


def test_a_missing_ledger_is_an_error(download: Download, tmp_path: Path) -> None:
    ledgers, links = download
    with pytest.raises(InputError, match=r"24 links, but the ledgers have 12 rows"):
        pack_download((ledgers[:1], links), tmp_path / "shards")


def test_every_piece_has_a_stamp_of_its_own(download: Download, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "_ROWS", 5)
    stamps = [piece.stamp for piece in download_source(*download).pieces]
    assert len(set(stamps)) == len(stamps) > len(download[0])


def test_a_ledger_given_twice_is_an_error(download: Download, tmp_path: Path) -> None:
    ledgers, links = download
    with pytest.raises(InputError, match="came in twice"):
        pack_download(([ledgers[0], ledgers[0]], links), tmp_path / "shards")


def test_a_torn_tar_is_an_error(download: Download, tmp_path: Path) -> None:
    tar = download[0][1].with_name("0001") / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"0001/00000\.tar: ends within the image"):
        pack_download(download, tmp_path / "shards")
    assert not (tmp_path / "shards" / "shards.json").exists()


def test_an_image_that_is_not_its_ledgers_is_an_error(download: Download, tmp_path: Path) -> None:
    tar = download[0][0].with_name("0000") / "00000.tar"
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    with pytest.raises(InputError, match="is not the image of its ledger"):
        pack_download(download, tmp_path / "shards")


def test_a_ledger_of_other_links_is_an_error(download: Download, tmp_path: Path) -> None:
    other = leave_download(tmp_path / "other", [("x", "dns")] * 24)
    table = pq.read_table(other[1]).to_pylist()
    pq.write_table(pq.read_table(other[1]).slice(0, 0), other[1])
    assert len(table) == 24
    with pytest.raises(InputError, match="do not balance"):
        download_source(download[0], other[1])


def test_no_images_at_all_is_an_error(tmp_path: Path) -> None:
    parts = leave_download(tmp_path / "download", [("x", "http_404"), ("y", b"not an image")])
    with pytest.raises(InputError, match="no image to pack is left of 1"):
        pack_download(parts, tmp_path / "shards")
    shutil.rmtree(tmp_path / "shards")
    with pytest.raises(InputError, match="no image to pack is left of 0"):
        pack_download(leave_download(tmp_path / "none", [("x", "dns")], 1), tmp_path / "shards")
