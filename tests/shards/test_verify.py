"""`cloob shards verify` detects every difference, names the sample, and changes no file."""

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
from tests.helpers.downloaded_parts import write_download
from tests.helpers.packing import file_contents, pack_download
from tests.helpers.sample_images import jpeg


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    rows = [(f"image {number}", jpeg(number)) for number in range(13)] + [("not an image", b"<html>")]
    return pack_download(write_download(folder / "download", rows), folder / "shards").parent


@pytest.fixture
def corpus(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "shards"))


def verification_error(corpus: Path) -> str:
    """The error message of a failed verification, which must not change any file."""
    before = file_contents(corpus)
    with pytest.raises(InputError) as raised:
        verify(corpus / "shards.json", corpus / "outcomes.csv", 1)
    assert file_contents(corpus) == before
    return str(raised.value)


def update_manifest(corpus: Path, **fields: object) -> None:
    """Rewrite the manifest with fields changed and with the hashes of the current indexes and ledger."""
    manifest = read_json(corpus / "shards.json")
    for shard in manifest["shards"]:
        shard["index_sha256"] = sha256_file((corpus / shard["name"]).with_suffix(".parquet"))
    manifest["ledger_sha256"] = sha256_file(corpus / "ledger.parquet")
    write_json(corpus / "shards.json", with_checksum(manifest | fields))


def rewrite_shard(corpus: Path, number: int, change: Callable[[Sample], Sample]) -> None:
    """Rewrite a shard with its first sample changed; hashes, index and manifest remain consistent."""
    shards, manifest = Shards(corpus / "shards.json"), read_json(corpus / "shards.json")
    content, samples = ContentHash(), []
    for index in range(len(shards)):
        (image, caption), key = shards.sample(index), shards.key(index)
        in_shard = index // 10 == number
        row = pq.read_table(corpus / f"{index // 10:06d}.parquet").to_pylist()[index % 10]
        tar = (corpus / f"{index // 10:06d}.tar").read_bytes()
        record = tar[row["record_offset"] :][: row["record_length"]].decode()
        sample = Sample(key, image, caption, row["sha256"], row["width"], row["height"], record)
        if in_shard:
            sample = change(sample) if not samples else sample
            samples.append(sample)
        content.add(sample.key, sample.sha256, sample.caption)
    manifest["shards"][number] = write_shard(corpus / f"{number:06d}.tar", samples)
    write_json(corpus / "shards.json", manifest)
    update_manifest(corpus, sha256=content.hexdigest())


def with_record(sample: Sample, **fields: object) -> Sample:
    record = json.dumps(json.loads(sample.record) | fields)
    return Sample(
        sample.key, sample.image, sample.caption, sample.sha256, sample.width, sample.height, record
    )


def replace_image(image: bytes) -> Callable[[Sample], Sample]:
    """A change of the image and of its hashes."""

    def change(sample: Sample) -> Sample:
        digest = sha256(image).hexdigest()
        changed = Sample(
            sample.key, image, sample.caption, digest, sample.width, sample.height, sample.record
        )
        return with_record(changed, sha256=digest)

    return change


def test_packed_corpus_passes_verification(corpus: Path) -> None:
    summary = verify(corpus / "shards.json", corpus / "outcomes.csv", 2, corpus / "verified.json")
    assert summary.endswith("verified 13 samples in 2 shards")
    assert read_json(corpus / "verified.json") == {
        "manifest_sha256": sha256_file(corpus / "shards.json"),
        "samples": 13,
        "shards": 2,
    }


def test_changed_byte_of_a_tar_is_detected(corpus: Path) -> None:
    tar = corpus / "000001.tar"
    content = bytearray(tar.read_bytes())
    content[2000] ^= 1
    tar.write_bytes(content)
    assert "000001.tar: the SHA-256 differs from the manifest" in verification_error(corpus)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_image(jpeg(1)[:-200]), "truncated"),
        (replace_image(b"<html>"), "cannot identify"),
        (replace_image(jpeg(1, width=20)), "the image has 20 × 32 pixels"),
        (lambda sample: with_record(sample, uid="another"), "the JSON record belongs to another image"),
        (lambda sample: with_record(sample, sha256="0"), "the JSON record belongs to another image"),
        (
            lambda s: Sample(s.key, jpeg(99), s.caption, s.sha256, s.width, s.height, s.record),
            "the image does not have the SHA-256 in the index",
        ),
    ],
    ids=["truncated", "not an image", "size", "uid", "hash", "image"],
)
def test_sample_that_differs_from_the_index_is_named(
    corpus: Path, change: Callable[[Sample], Sample], message: str
) -> None:
    rewrite_shard(corpus, 1, change)
    first = pq.read_table(corpus / "000001.parquet")["key"][0].as_py()
    error = verification_error(corpus)
    assert message in error and f"000001.tar: sample {first}" in error


def test_duplicate_key_is_detected(corpus: Path) -> None:
    other = pq.read_table(corpus / "000000.parquet")["key"][3].as_py()

    def rename(sample: Sample) -> Sample:
        changed = with_record(sample, uid=other)
        return Sample(other, sample.image, sample.caption, sample.sha256, 48, 32, changed.record)

    rewrite_shard(corpus, 1, rename)
    assert "1 keys occur twice" in verification_error(corpus)


def test_wrong_byte_range_in_the_index_is_detected(corpus: Path) -> None:
    path = corpus / "000000.parquet"
    index = pq.read_table(path)
    moved = pa.array([offset + 512 for offset in index["image_offset"].to_pylist()])
    pq.write_table(index.set_column(1, "image_offset", moved), path)
    assert "000000.parquet: changed after packing" in verification_error(corpus)
    update_manifest(corpus)
    assert "the image is not at the offset in the index" in verification_error(corpus)


def test_content_hash_mismatch_is_detected(corpus: Path) -> None:
    update_manifest(corpus, sha256="0" * 64)
    assert "the samples do not have the SHA-256 in the manifest" in verification_error(corpus)


def test_mismatching_outcome_counts_are_detected(corpus: Path) -> None:
    (corpus / "outcomes.csv").write_text("outcome,rows\nkept,13\n")
    assert "outcomes.csv: the outcomes differ from those in ledger.parquet" in verification_error(corpus)
    (corpus / "outcomes.csv").write_text("outcome,rows\nkept,13\nnot_an_image,1\n")
    assert "13 samples" in verify(corpus / "shards.json", corpus / "outcomes.csv", 1)
    ledger = pq.read_table(corpus / "ledger.parquet")
    pq.write_table(ledger.slice(1), corpus / "ledger.parquet")
    assert "ledger.parquet: the SHA-256 differs from the manifest" in verification_error(corpus)
    update_manifest(corpus)
    assert "shards.json: the outcomes differ" in verification_error(corpus)
    update_manifest(corpus, samples=14)
    assert "14 samples in the manifest, 13 in the indexes" in verification_error(corpus)
    (corpus / "ledger.parquet").unlink()
    assert "ledger.parquet: no such file" in verification_error(corpus)


@pytest.mark.parametrize("name", ["shards.json", "000000.tar", "000000.parquet", "ledger.parquet"])
def test_changed_byte_of_any_file_is_detected(corpus: Path, name: str) -> None:
    content = (corpus / name).read_bytes()
    for position in range(0, len(content), max(1, len(content) // 40)):
        if not (name.endswith(".json") and chr(content[position]).isspace()):
            changed = bytearray(content)
            changed[position] ^= 1
            (corpus / name).write_bytes(changed)
            verification_error(corpus)


@pytest.mark.parametrize("content", ["[]", "{}", '{"shards": 1}', '{"shards": [{"name": "0.tar"}]}', "x"])
def test_invalid_manifest_raises_input_error(corpus: Path, content: str) -> None:
    (corpus / "shards.json").write_text(content)
    assert "shards.json: not " in verification_error(corpus)


@pytest.mark.parametrize("name", ["samples", "outcomes", "ledger_sha256"])
def test_manifest_without_a_field_or_of_another_type_raises_input_error(corpus: Path, name: str) -> None:
    manifest = read_json(corpus / "shards.json")
    for wrong in (manifest | {name: None}, {key: manifest[key] for key in manifest if key != name}):
        write_json(corpus / "shards.json", with_checksum(wrong))
        assert f"shards.json: not a shard manifest ({name} is missing" in verification_error(corpus)


def test_index_without_a_column_raises_input_error(corpus: Path) -> None:
    path = corpus / "000001.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["sha256"]), path)
    update_manifest(corpus)
    assert "000001.parquet: not an index" in verification_error(corpus)
