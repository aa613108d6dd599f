"""Packing a download: complete and undamaged, in one seeded order, with identical bytes in every run."""

import json
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from cloob.common.accounting import read_outcomes
from cloob.common.errors import InputError
from cloob.common.json_files import read_json
from cloob.shards import from_download
from cloob.shards.from_download import download_source
from cloob.shards.reader import Shards
from cloob.shards.validate import shuffle_key, validate_images
from tests.helpers.downloaded_parts import NUM_IMAGES, caption, uid, write_download
from tests.helpers.packing import (
    POLICY,
    file_contents,
    images_by_caption,
    manifest_outcomes,
    pack_download,
    pack_source,
)
from tests.helpers.sample_images import encode_image, jpeg, noise_image

Download = tuple[list[Path], Path]


def test_every_image_is_packed_with_its_caption_and_unchanged_bytes(
    download: Download, tmp_path: Path
) -> None:
    manifest = pack_download(download, tmp_path / "shards")
    assert images_by_caption(manifest) == {
        caption(number): jpeg(number, mode="L" if number % 3 else "RGB", width=40 + number)
        for number in range(NUM_IMAGES)
    }
    assert (
        read_outcomes(manifest.with_name("outcomes.csv"))
        == manifest_outcomes(manifest)
        == {"kept": NUM_IMAGES}
    )


def test_order_is_a_function_of_seed_and_uid_alone(download: Download, tmp_path: Path) -> None:
    def keys(out: str, seed: int) -> list[str]:
        shards = Shards(pack_download(download, tmp_path / out, seed=seed))
        return [shards.key(index) for index in range(len(shards))]

    uids = [uid(row) for row in range(1, NUM_IMAGES + 2) if row != 6]  # row 6 is a failed download
    assert keys("one", 1) == sorted(uids, key=lambda uid: shuffle_key(1, uid))
    assert keys("two", 2) == sorted(uids, key=lambda uid: shuffle_key(2, uid)) != keys("again", 1)


def test_rejected_image_does_not_change_the_order_of_the_others(tmp_path: Path) -> None:
    rows = [(caption(number), jpeg(number)) for number in range(NUM_IMAGES)]
    complete = Shards(pack_download(write_download(tmp_path / "a", rows), tmp_path / "complete"))
    rows[7] = (caption(7), b"<!DOCTYPE html>")
    shards = Shards(pack_download(write_download(tmp_path / "b", rows), tmp_path / "shards"))
    order = [complete.caption(index) for index in range(NUM_IMAGES)]
    order.remove(caption(7))
    assert [shards.caption(index) for index in range(NUM_IMAGES - 1)] == order


# webdataset relies on the garbage collector to close its files.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_byte_ranges_of_the_index_match_tarfile_and_webdataset(download: Download, tmp_path: Path) -> None:
    out = pack_download(download, tmp_path / "shards").parent
    tars = sorted(out.glob("*.tar"))
    assert [tar.name for tar in tars] == ["000000.tar", "000001.tar", "000002.tar"]
    webdataset_samples = [
        sample
        for tar in tars
        for sample in webdataset.WebDataset(str(tar), shardshuffle=False, empty_check=False)
    ]
    row = 0
    for tar in tars:
        content = tar.read_bytes()
        with tarfile.open(tar) as members:
            for entry in pq.read_table(tar.with_suffix(".parquet")).to_pylist():
                sample = webdataset_samples[row]
                assert sample["__key__"] == entry["key"]
                for part, suffix in (("image", "jpg"), ("caption", "txt"), ("record", "json")):
                    indexed = content[entry[f"{part}_offset"] :][: entry[f"{part}_length"]]
                    member = members.extractfile(f"{entry['key']}.{suffix}")
                    assert indexed == member.read() == sample[suffix]  # type: ignore[union-attr]
                assert sha256(sample["jpg"]).hexdigest() == entry["sha256"]
                row += 1
    assert row == len(webdataset_samples) == NUM_IMAGES


def test_json_record_contains_provenance_and_original_caption(tmp_path: Path) -> None:
    original_caption = "Cafe\u0301 \u2028 at\u00a0noon\x07!"
    parts = write_download(tmp_path / "download", [(original_caption, jpeg(1, width=50))], parts=1)
    manifest = pack_download(parts, tmp_path / "shards")
    with tarfile.open(manifest.with_name("000000.tar")) as tar:
        record = json.loads(tar.extractfile(f"{uid(1)}.json").read())  # type: ignore[union-attr]
    assert record == {
        "uid": uid(1),
        "caption": original_caption,
        "url": "http://images.example/1.jpg",
        "row": 1,
        "width": 50,
        "height": 32,
        "sha256": sha256(jpeg(1, width=50)).hexdigest(),
    }
    assert Shards(manifest).caption(0) == "Café at noon !"


def test_manifest_describes_the_shards(download: Download, tmp_path: Path) -> None:
    manifest = pack_download(download, tmp_path / "shards")
    content = read_json(manifest)
    assert content["samples"] == NUM_IMAGES
    assert [shard["samples"] for shard in content["shards"]] == [10, 10, 3]
    for shard in content["shards"]:
        tar = (manifest.parent / shard["name"]).read_bytes()
        assert (len(tar), sha256(tar).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert content["bytes"] == sum(shard["bytes"] for shard in content["shards"])
    assert content["urls_sha256"] == sha256(download[1].read_bytes()).hexdigest()
    width = content["statistics"]["width"]
    assert {name: width[name] for name in ("minimum", "median", "mean", "maximum")} == {
        "minimum": 40,
        "median": 51,
        "mean": 51,
        "maximum": 62,
    }
    assert sum(width["counts"]) == NUM_IMAGES
    assert content["statistics"]["caption_words"]["maximum"] == 4


def test_ledger_contains_every_downloaded_row(download: Download, tmp_path: Path) -> None:
    manifest = pack_download(download, tmp_path / "shards")
    ledger = pq.read_table(manifest.with_name("ledger.parquet"))
    assert ledger["uid"].to_pylist() == [uid(row) for row in range(1, NUM_IMAGES + 2) if row != 6]
    assert set(ledger["outcome"].to_pylist()) == {"kept"}


def test_number_of_processes_does_not_change_the_output(download: Download, tmp_path: Path) -> None:
    sequential = pack_download(download, tmp_path / "one").parent
    parallel = pack_download(download, tmp_path / "two", processes=2).parent
    assert file_contents(sequential) == file_contents(parallel)


def test_images_of_the_validation_split_are_excluded_from_training(
    download: Download, tmp_path: Path
) -> None:
    shared_image = jpeg(3, width=43)
    rows = [("another caption", shared_image), ("fresh", jpeg(99)), ("fresh", jpeg(98)), ("twin", jpeg(98))]
    validation = pack_download(
        write_download(tmp_path / "v", [("seen", shared_image), ("seen twice", jpeg(98))]), tmp_path / "val"
    )
    manifest = pack_download(write_download(tmp_path / "t", rows), tmp_path / "train", validation=validation)
    assert manifest_outcomes(manifest) == {"in_validation": 3, "kept": 1}
    assert images_by_caption(manifest) == {"fresh": jpeg(99)}
    ledger = pq.read_table(manifest.with_name("ledger.parquet")).to_pylist()
    assert [row["outcome"] for row in ledger] == ["in_validation", "kept", "in_validation", "in_validation"]


def test_duplicates_within_training_are_kept_and_counted(tmp_path: Path) -> None:
    rows = [("a", jpeg(1)), ("b", jpeg(1)), ("c", jpeg(1)), ("d", jpeg(2)), ("d", jpeg(2)), ("e", jpeg(3))]
    manifest = pack_download(write_download(tmp_path / "download", rows), tmp_path / "shards")
    assert manifest_outcomes(manifest) == {"kept": 6}
    assert read_json(manifest)["statistics"]["duplicates"] == 3


def test_captions_that_the_tokenizer_truncates_are_kept_and_counted(tmp_path: Path) -> None:
    rows = [("dog " * 75, jpeg(1)), ("dog " * 76, jpeg(2)), ("strange" * 100, jpeg(3)), ("a", jpeg(4))]
    manifest = pack_download(write_download(tmp_path / "download", rows), tmp_path / "shards")
    assert manifest_outcomes(manifest) == {"kept": 4}
    assert read_json(manifest)["statistics"]["captions_above_context"] == 2


def test_leftovers_of_an_earlier_run_are_removed(download: Download, tmp_path: Path) -> None:
    reference = pack_download(download, tmp_path / "reference").parent
    out = tmp_path / "shards"
    out.mkdir()
    for name in ("000007.tar", "000007.parquet", ".000001.4711.tar", "shards.json", "000001.tar"):
        (out / name).touch()
    assert file_contents(pack_download(download, out).parent) == file_contents(reference)


@pytest.mark.parametrize("name", ["00000.tar", "00000.parquet"])
def test_files_that_no_packing_has_written_are_never_deleted(
    download: Download, tmp_path: Path, name: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_bytes(b"downloaded in a week")
    for _ in range(2):
        with pytest.raises(InputError, match=f"mine/{name}: not written by a packing"):
            pack_download(download, tmp_path / "mine")
    assert file_contents(tmp_path / "mine") == {name: b"downloaded in a week"}


def test_finished_shards_are_reused_and_damaged_ones_rewritten(download: Download, tmp_path: Path) -> None:
    out = pack_download(download, tmp_path / "shards").parent
    before = file_contents(out)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    (out / "000001.tar").write_bytes(b"damaged")
    (out / "000002.parquet").unlink()
    assert file_contents(pack_download(download, out).parent) == before
    reused = {path.name for path in out.glob("*.tar") if path.stat().st_mtime_ns == times[path.name]}
    assert reused == {"000000.tar"}


def test_changed_seed_rewrites_all_shards(download: Download, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    pack_download(download, out, seed=2)
    fresh = pack_download(download, tmp_path / "fresh").parent
    assert file_contents(pack_download(download, out).parent) == file_contents(fresh)


def test_missing_ledger_raises_input_error(download: Download, tmp_path: Path) -> None:
    ledgers, urls = download
    with pytest.raises(InputError, match="24 URLs, but 12 rows in the ledgers"):
        pack_download((ledgers[:1], urls), tmp_path / "shards")


def test_every_chunk_has_its_own_fingerprint(download: Download, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_download, "_ROWS_PER_CHUNK", 5)
    fingerprints = [chunk.fingerprint for chunk in download_source(*download).chunks]
    assert len(set(fingerprints)) == len(fingerprints) > len(download[0])


def test_interrupted_packing_resumes_after_inputs_or_output_were_moved(tmp_path: Path) -> None:
    rows = [(caption(0), jpeg(0)), (caption(1), encode_image(noise_image(1), "PNG"))]  # a PNG is re-encoded
    ledgers, urls = write_download(tmp_path / "a", rows, parts=1)
    unfinished = tmp_path / "b" / "work" / "validated"
    validate_images(download_source(ledgers, urls), unfinished, POLICY, 1, processes=1)
    (tmp_path / "a").rename(tmp_path / "moved")
    ledgers = [tmp_path / "moved" / ledger.relative_to(tmp_path / "a") for ledger in ledgers]
    source = download_source(ledgers, tmp_path / "moved" / urls.name)
    validate_images(source, unfinished, POLICY, 1, processes=1)
    (tmp_path / "b").rename(tmp_path / "out")
    assert manifest_outcomes(pack_source(source, tmp_path / "out")) == {"kept": 2}


def test_ledger_given_twice_raises_input_error(download: Download, tmp_path: Path) -> None:
    ledgers, urls = download
    with pytest.raises(InputError, match="occurs twice"):
        pack_download(([ledgers[0], ledgers[0]], urls), tmp_path / "shards")


def test_truncated_tar_raises_input_error(download: Download, tmp_path: Path) -> None:
    tar = download[0][1].with_name("0001") / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"0001/00000\.tar: ends within the image"):
        pack_download(download, tmp_path / "shards")
    assert not (tmp_path / "shards" / "shards.json").exists()


def test_image_that_differs_from_its_ledger_raises_input_error(download: Download, tmp_path: Path) -> None:
    tar = download[0][0].with_name("0000") / "00000.tar"
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    with pytest.raises(InputError, match="does not have the SHA-256 of its ledger"):
        pack_download(download, tmp_path / "shards")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("length", -1, r"0000/00000\.tar: ends within the image"),
        ("length", 2**62, r"0000/00000\.tar: ends within the image"),
        ("offset", -512, r"0000/00000\.tar: ends within the image"),
        ("tar", None, r"0000_ledger\.parquet: an image without a location"),
        ("offset", 1.5, r"0000_ledger\.parquet: not a ledger \(offset is double"),
    ],
)
def test_impossible_values_in_a_ledger_raise_input_error(
    download: Download, tmp_path: Path, column: str, value: float | None, message: str
) -> None:
    table = pq.read_table(download[0][0])
    values = pa.array([value, *table[column].to_pylist()[1:]])
    pq.write_table(table.set_column(table.column_names.index(column), column, values), download[0][0])
    with pytest.raises(InputError, match=message):
        pack_download(download, tmp_path / "shards")


@pytest.mark.parametrize("name", ["parts/0000_ledger.parquet", "urls.parquet"])
def test_damaged_page_of_a_ledger_or_url_table_raises_input_error(
    download: Download, tmp_path: Path, name: str
) -> None:
    path, content = tmp_path / "download" / name, (tmp_path / "download" / name).read_bytes()
    # Bytes of the first page, and of the footer: pyarrow's readers wait forever or abort for some of them.
    for start, stop in ((4, 44), (len(content) - 1000, len(content) - 990)):
        path.write_bytes(content[:start] + b"\xff" * (stop - start) + content[stop:])
        with pytest.raises(InputError, match=rf"{name}: (damaged|not a .*) \(.*\); "):
            pack_download(download, tmp_path / "shards")


@pytest.mark.parametrize("column", ["uid", "caption"])
def test_url_table_with_other_columns_raises_input_error(
    download: Download, tmp_path: Path, column: str
) -> None:
    table = pq.read_table(download[1])
    other = table.set_column(table.column_names.index(column), column, pa.array(range(len(table))))
    for wrong in (other, table.drop_columns(column)):
        pq.write_table(wrong, download[1])
        with pytest.raises(InputError, match=rf"urls\.parquet: not a URL table \(.* column {column}\)"):
            pack_download(download, tmp_path / "shards")


def test_ledger_of_another_url_list_raises_input_error(download: Download, tmp_path: Path) -> None:
    other = write_download(tmp_path / "other", [("x", "dns")] * 24)
    pq.write_table(pq.read_table(other[1]).slice(0, 0), other[1])
    with pytest.raises(InputError, match="does not balance"):
        download_source(download[0], other[1])


def test_packing_without_any_valid_image_raises_input_error(tmp_path: Path) -> None:
    parts = write_download(tmp_path / "download", [("x", "http_404"), ("y", b"not an image")])
    with pytest.raises(InputError, match="none of 1 images can be packed"):
        pack_download(parts, tmp_path / "shards")
    shutil.rmtree(tmp_path / "shards")
    with pytest.raises(InputError, match="none of 0 images can be packed"):
        pack_download(write_download(tmp_path / "none", [("x", "dns")], 1), tmp_path / "shards")
