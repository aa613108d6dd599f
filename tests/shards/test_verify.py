"""What verifying a finished corpus finds, sample by sample, and that it leaves everything as it was."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cloob.common.errors import InputError
from cloob.common.hashing import sha256_file
from cloob.common.json_files import read_json, write_json
from cloob.shards.manifest import ContentHash, with_checksum
from cloob.shards.reader import Shards
from cloob.shards.verify import verify
from cloob.shards.writer import Sample, write_shard
from tests.helpers.downloaded_parts import leave_download
from tests.helpers.packing import files_of, pack_download
from tests.helpers.sample_images import jpeg


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    rows = [(f"picture {number}", jpeg(number)) for number in range(13)] + [("rubbish", b"<html>")]
    return pack_download(leave_download(folder / "download", rows), folder / "shards").parent


@pytest.fixture
def corpus(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "shards"))


def found_wrong(corpus: Path) -> str:
    """What verifying says, which must change nothing."""
    before = files_of(corpus)
    with pytest.raises(InputError) as wrong:
        verify(corpus / "shards.json", corpus / "outcomes.csv", 1)
    assert files_of(corpus) == before
    return str(wrong.value)


def reseal(corpus: Path, **more: object) -> None:
    """Write the manifest anew, in keeping with the indices and the ledger that are there."""
    manifest = read_json(corpus / "shards.json")
    for shard in manifest["shards"]:
        shard["index_sha256"] = sha256_file((corpus / shard["name"]).with_suffix(".parquet"))
    manifest["ledger_sha256"] = sha256_file(corpus / "ledger.parquet")
    write_json(corpus / "shards.json", with_checksum(manifest | more))


def rewrite(corpus: Path, number: int, change: Callable[[Sample], Sample]) -> None:
    """Write a shard anew with its first sample changed, hashes, index and manifest in keeping with it."""
    shards, manifest = Shards(corpus / "shards.json"), read_json(corpus / "shards.json")
    content, samples = ContentHash(), []
    for index in range(len(shards)):
        image, caption, key = shards.sample(index)
        inside = index // 10 == number
        row = pq.read_table(corpus / f"{index // 10:06d}.parquet").to_pylist()[index % 10]
        tar = (corpus / f"{index // 10:06d}.tar").read_bytes()
        record = tar[row["record_offset"] :][: row["record_length"]].decode()
        sample = Sample(key, image, caption, row["sha256"], row["width"], row["height"], record)
        if inside:
            sample = change(sample) if not samples else sample
            samples.append(sample)
        content.add(sample.key, sample.sha256, sample.caption)
    manifest["shards"][number] = write_shard(corpus / f"{number:06d}.tar", samples)
    write_json(corpus / "shards.json", manifest)
    reseal(corpus, sha256=content.hexdigest())


def with_record(sample: Sample, **more: object) -> Sample:
    record = json.dumps(json.loads(sample.record) | more)
    return Sample(
        sample.key, sample.image, sample.caption, sample.sha256, sample.width, sample.height, record
    )


def of_image(image: bytes) -> Callable[[Sample], Sample]:
    """Change the image, and whatever vouches for it."""

    def change(sample: Sample) -> Sample:
        digest = sha256(image).hexdigest()
        changed = Sample(
            sample.key, image, sample.caption, digest, sample.width, sample.height, sample.record
        )
        return with_record(changed, sha256=digest)

    return change


def test_a_packed_corpus_is_what_was_packed(corpus: Path) -> None:
    said = verify(corpus / "shards.json", corpus / "outcomes.csv", 2, corpus / "verified.json")
    assert said.endswith("13 samples in 2 shards are what was packed")
    assert read_json(corpus / "verified.json") == {
        "manifest_sha256": sha256_file(corpus / "shards.json"),
        "samples": 13,
        "shards": 2,
    }


def test_a_changed_byte_is_found(corpus: Path) -> None:
    tar = corpus / "000001.tar"
    content = bytearray(tar.read_bytes())
    content[2000] ^= 1
    tar.write_bytes(content)
    assert "000001.tar: its bytes differ from the manifest's hash" in found_wrong(corpus)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_image(jpeg(1)[:-200]), "truncated"),
        (of_image(b"<html>"), "cannot identify"),
        (of_image(jpeg(1, width=20)), "an image of 20 × 32 pixels"),
        (lambda sample: with_record(sample, uid="another"), "its JSON is not that of its image"),
        (lambda sample: with_record(sample, sha256="0"), "its JSON is not that of its image"),
        (
            lambda one: Sample(one.key, jpeg(99), one.caption, one.sha256, one.width, one.height, one.record),
            "not the image of its index",
        ),
    ],
    ids=["truncated", "rubbish", "size", "uid", "hash", "image"],
)
def test_a_sample_that_is_not_what_its_index_says_is_named(
    corpus: Path, change: Callable[[Sample], Sample], said: str
) -> None:
    rewrite(corpus, 1, change)
    first = pq.read_table(corpus / "000001.parquet")["key"][0].as_py()
    assert said in (wrong := found_wrong(corpus)) and f"000001.tar: sample {first}" in wrong


def test_a_key_that_comes_twice_is_found(corpus: Path) -> None:
    other = pq.read_table(corpus / "000000.parquet")["key"][3].as_py()

    def rename(sample: Sample) -> Sample:
        changed = with_record(sample, uid=other)
        return Sample(other, sample.image, sample.caption, sample.sha256, 48, 32, changed.record)

    rewrite(corpus, 1, rename)
    assert "1 keys come twice" in found_wrong(corpus)


def test_an_index_that_points_elsewhere_is_found(corpus: Path) -> None:
    path = corpus / "000000.parquet"
    index = pq.read_table(path)
    moved = pa.array([offset + 1 for offset in index["image_offset"].to_pylist()])
    pq.write_table(index.set_column(1, "image_offset", moved), path)
    assert "000000.parquet: changed after packing" in found_wrong(corpus)
    reseal(corpus)
    assert "its image is not where the index says" in found_wrong(corpus)


def test_another_caption_is_found_by_the_whole(corpus: Path) -> None:
    reseal(corpus, sha256="0" * 64)
    assert "the samples are not those of its hash" in found_wrong(corpus)


def test_counts_that_do_not_balance_are_found(corpus: Path) -> None:
    (corpus / "outcomes.csv").write_text("outcome,rows\nkept,13\n")
    assert "outcomes.csv: its outcomes are not those of the rows in ledger.parquet" in found_wrong(corpus)
    (corpus / "outcomes.csv").write_text("outcome,rows\nkept,13\nnot_an_image,1\n")
    assert "13 samples" in verify(corpus / "shards.json", corpus / "outcomes.csv", 1)
    ledger = pq.read_table(corpus / "ledger.parquet")
    pq.write_table(ledger.slice(1), corpus / "ledger.parquet")
    assert "ledger.parquet: its bytes differ from the manifest's hash" in found_wrong(corpus)
    reseal(corpus)
    assert "shards.json: its outcomes are not those" in found_wrong(corpus)
    reseal(corpus, samples=14)
    assert "says 14 samples, the indices hold 13" in found_wrong(corpus)
    (corpus / "ledger.parquet").unlink()
    assert "ledger.parquet: no such file" in found_wrong(corpus)


@pytest.mark.parametrize("name", ["shards.json", "000000.tar", "000000.parquet", "ledger.parquet"])
def test_a_changed_byte_of_any_file_is_found(corpus: Path, name: str) -> None:
    content = (corpus / name).read_bytes()
    for place in range(0, len(content), max(1, len(content) // 40)):
        if not (name.endswith(".json") and chr(content[place]).isspace()):
            changed = bytearray(content)
            changed[place] ^= 1
            (corpus / name).write_bytes(changed)
            found_wrong(corpus)


@pytest.mark.parametrize("content", ["[]", "{}", '{"shards": 1}', '{"shards": [{"name": "0.tar"}]}', "x"])
def test_what_is_no_manifest_is_an_error(corpus: Path, content: str) -> None:
    (corpus / "shards.json").write_text(content)
    assert "shards.json: not " in found_wrong(corpus)


def test_an_index_without_a_column_is_an_error(corpus: Path) -> None:
    path = corpus / "000001.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["sha256"]), path)
    reseal(corpus)
    assert "000001.parquet: not an index" in found_wrong(corpus)
