"""Exclusion of validation images and their near-duplicates (re-encoded, resized) from training."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from cloob.common.accounting import read_outcomes
from cloob.common.errors import InputError
from cloob.common.json_files import read_json, write_json
from cloob.images.near_duplicates import HASH_VERSION
from cloob.shards.from_download import download_source
from cloob.shards.from_webdataset import webdataset_source
from cloob.shards.manifest import with_checksum
from cloob.shards.pack import PackOptions, pack
from cloob.shards.verify import verify
from tests.helpers.downloaded_parts import uid, write_download
from tests.helpers.killed_packing import pack_with_kill_at_every_rename
from tests.helpers.packing import (
    POLICY,
    file_contents,
    images_by_caption,
    manifest_outcomes,
    pack_download,
    pack_source,
)
from tests.helpers.sample_images import encode_image
from tests.helpers.scene_images import COPIES, scene_image
from tests.helpers.webdataset_tars import write_tar

UrlRow = tuple[str, bytes]
LEDGER_COLUMNS = ("uid", "outcome", "duplicate_of", "duplicate_of_split")


def pack_rows(folder: Path, rows: list[UrlRow], **options: Any) -> Path:
    return pack_download(write_download(folder / "download", rows), folder / "shards", **options)


def original(number: int) -> bytes:
    return encode_image(scene_image(number), quality=92)


@pytest.fixture
def validation(tmp_path: Path) -> Path:
    """A packed validation split of twelve images."""
    return pack_rows(
        tmp_path / "validation", [(f"validation {number}", original(number)) for number in range(12)]
    )


def test_near_duplicates_of_validation_images_are_excluded_and_other_images_kept(
    tmp_path: Path, validation: Path
) -> None:
    copies = [(f"copy {name}", copy(scene_image(index))) for index, (name, copy) in enumerate(COPIES.items())]
    others = [(f"other {number}", original(100 + number)) for number in range(10)]
    rows = [*copies, ("the same", original(0)), *others]
    manifest = pack_rows(tmp_path / "train", rows, validation=validation)
    expected = {"kept": 10, "near_duplicate_of_validation": len(copies), "in_validation": 1}
    assert manifest_outcomes(manifest) == read_outcomes(manifest.with_name("outcomes.csv")) == expected
    assert images_by_caption(manifest) == dict(others)


def test_ledger_names_the_validation_image_of_every_duplicate(tmp_path: Path, validation: Path) -> None:
    rows = [
        ("other", original(100)),
        ("again", original(3)),
        ("copy", COPIES["jpeg 75"](scene_image(5))),
        ("", b""),
    ]
    manifest = pack_rows(tmp_path / "train", rows, validation=validation)
    ledger = pq.read_table(manifest.with_name("ledger.parquet")).to_pylist()
    assert [tuple(row[name] for name in LEDGER_COLUMNS) for row in ledger] == [
        (uid(1), "kept", None, None),
        (uid(2), "in_validation", uid(4), "validation/shards"),
        (uid(3), "near_duplicate_of_validation", uid(6), "validation/shards"),
        (uid(4), "empty_caption", None, None),
    ]


def test_ledger_tells_images_of_several_validation_splits_with_the_same_key_apart(tmp_path: Path) -> None:
    splits = [
        pack_rows(tmp_path / name, [(f"{name} {number}", original(first + number)) for number in range(3)])
        for name, first in (("cc3m", 0), ("mine", 50))
    ]
    copy = COPIES["jpeg 75"](scene_image(51))
    rows = [("first", original(1)), ("second", original(51)), ("near", copy), ("other", original(100))]
    manifest = pack_rows(tmp_path / "train", rows, validation=splits)
    ledger = pq.read_table(manifest.with_name("ledger.parquet")).to_pylist()
    assert [(row["duplicate_of"], row["duplicate_of_split"]) for row in ledger] == [
        (uid(2), "cc3m/shards"),
        (uid(2), "mine/shards"),
        (uid(2), "mine/shards"),
        (None, None),
    ]


def test_every_reencoded_validation_image_of_a_corpus_is_excluded(tmp_path: Path) -> None:
    """Resized and re-encoded copies, as img2dataset writes them, share no bytes with the originals."""
    num_validation = 60
    validation = pack_rows(
        tmp_path / "v", [(f"v {index}", original(index)) for index in range(num_validation)]
    )
    members = []
    for index in range(2 * num_validation):
        image = encode_image(scene_image(index).resize((128, 96), Image.Resampling.LANCZOS), quality=90)
        members += [(f"{index:05d}.jpg", image), (f"{index:05d}.txt", f"caption {index}".encode())]
    folder = write_tar(tmp_path / "existing" / "0.tar", members)
    source = webdataset_source([folder], POLICY.max_bytes)
    manifest = pack_source(source, tmp_path / "train", validation=validation)
    assert manifest_outcomes(manifest) == {
        "near_duplicate_of_validation": num_validation,
        "kept": num_validation,
    }


def test_images_without_perceptual_hash_are_compared_by_their_bytes_only(tmp_path: Path) -> None:
    def uniform(color: str, quality: int) -> bytes:
        return encode_image(Image.new("RGB", (64, 64), color), quality=quality)

    validation = pack_rows(tmp_path / "v", [("white", uniform("white", 90)), ("structure", original(1))])
    rows = [
        ("white", uniform("white", 90)),
        ("red", uniform("red", 90)),
        ("another white", uniform("white", 50)),
    ]
    manifest = pack_rows(tmp_path / "train", rows, validation=validation)
    assert manifest_outcomes(manifest) == {"in_validation": 1, "kept": 2}
    assert read_json(manifest)["statistics"]["without_perceptual_hash"] == 2
    only_uniform = pack_rows(tmp_path / "w", [("white", uniform("white", 90))])
    assert manifest_outcomes(pack_rows(tmp_path / "t", rows, validation=only_uniform)) == {
        "in_validation": 1,
        "kept": 2,
    }


def test_distance_threshold_decides_what_is_a_near_duplicate(tmp_path: Path, validation: Path) -> None:
    download = write_download(
        tmp_path / "download", [("copy", COPIES["jpeg 75"](scene_image(2))), ("x", original(99))]
    )

    def outcomes(distance: int) -> dict[str, int]:
        out = tmp_path / f"at {distance}"
        pack(
            download_source(*download),
            out,
            out / "f.csv",
            PackOptions(10, 1, POLICY, distance),
            1,
            [validation],
        )
        return manifest_outcomes(out / "shards.json")

    assert outcomes(0) == {"kept": 2}
    assert outcomes(20) == {"kept": 1, "near_duplicate_of_validation": 1}


def test_images_of_several_validation_splits_are_excluded(tmp_path: Path, validation: Path) -> None:
    other = pack_rows(tmp_path / "other", [("other", original(50))])
    rows = [("a", original(0)), ("b", COPIES["jpeg 95"](scene_image(50))), ("c", original(60))]
    source = download_source(*write_download(tmp_path / "source", rows))
    options = PackOptions(10, 1, POLICY)
    outcomes = pack(source, tmp_path / "train", tmp_path / "outcomes.csv", options, 1, [validation, other])
    assert outcomes == {"in_validation": 1, "near_duplicate_of_validation": 1, "kept": 1}


def test_nearest_of_several_validation_images_is_named(tmp_path: Path) -> None:
    rows = [
        ("faint", COPIES["half the size and back"](scene_image(1))),
        ("exact", COPIES["png"](scene_image(1))),
    ]
    validation = pack_rows(tmp_path / "v", rows)
    manifest = pack_rows(
        tmp_path / "t", [("a", COPIES["jpeg 95"](scene_image(1))), ("b", original(9))], validation=validation
    )
    ledger = pq.read_table(manifest.with_name("ledger.parquet")).to_pylist()
    assert ledger[0]["duplicate_of"] == uid(2)


def test_processes_and_kills_do_not_change_the_output(tmp_path: Path, validation: Path) -> None:
    rows = [(f"copy {name}", copy(scene_image(1))) for name, copy in COPIES.items()]
    rows += [(f"other {number}", original(50 + number)) for number in range(12)]
    download = write_download(tmp_path / "download", rows)
    reference = pack_download(download, tmp_path / "reference", validation=validation)
    assert manifest_outcomes(reference) == {"kept": 12, "near_duplicate_of_validation": len(COPIES)}
    parallel = pack_download(download, tmp_path / "parallel", processes=2, validation=validation)
    killed = tmp_path / "killed"
    pack_with_kill_at_every_rename(download, killed, validation=validation)
    assert file_contents(reference.parent) == file_contents(parallel.parent) == file_contents(killed)


def test_index_contains_distinct_perceptual_hashes_and_shards_verify(validation: Path) -> None:
    [index] = validation.parent.glob("000000.parquet")
    hashes = pq.read_table(index)["perceptual_hash"].to_pylist()
    assert len(set(hashes)) == len(hashes) > 1 and all(len(phash) == 32 for phash in hashes)
    assert "verified" in verify(validation, validation.with_name("outcomes.csv"), 1)


def drop_hashes(manifest: Path) -> None:
    """Remove the perceptual hashes, as in shards of an older version."""
    content = json.loads(manifest.read_text())
    for shard in content["shards"]:
        index = (manifest.parent / shard["name"]).with_suffix(".parquet")
        table = pq.read_table(index)
        pq.write_table(table.drop_columns(["perceptual_hash"]), index)
        shard["index_sha256"] = sha256(index.read_bytes()).hexdigest()
    write_json(manifest, with_checksum(content))


def test_validation_shards_of_an_older_version_raise_input_error(tmp_path: Path, validation: Path) -> None:
    drop_hashes(validation)
    with pytest.raises(
        InputError, match=r"000000\.parquet: .*missing: perceptual_hash\); pack the shards again"
    ):
        pack_rows(tmp_path / "train", [("other", original(100))], validation=validation)
    # The files are still identical to their manifest.
    assert "verified" in verify(validation, validation.with_name("outcomes.csv"), 1)


def test_shards_of_an_older_version_are_rewritten(tmp_path: Path) -> None:
    rows = [(f"image {number}", original(number)) for number in range(12)]
    download = write_download(tmp_path / "download", rows)
    manifest = pack_download(download, tmp_path / "shards")
    fresh = file_contents(manifest.parent)
    drop_hashes(manifest)
    assert file_contents(pack_download(download, tmp_path / "shards").parent) == fresh


def test_part_without_any_kept_url_is_handled(tmp_path: Path, validation: Path) -> None:
    rows = [
        ("gone", "http_404"),
        ("gone", "dns"),
        ("copy", COPIES["webp"](scene_image(7))),
        ("other", original(70)),
    ]
    manifest = pack_download(write_download(tmp_path / "d", rows), tmp_path / "t", validation=validation)
    assert manifest_outcomes(manifest) == {"kept": 1, "near_duplicate_of_validation": 1}


def test_validation_hashes_of_another_version_are_an_error(tmp_path: Path, validation: Path) -> None:
    manifest = read_json(validation)
    assert manifest["perceptual_hash"] == HASH_VERSION
    write_json(validation, with_checksum(manifest | {"perceptual_hash": "pHash of 64 bits"}))
    with pytest.raises(
        InputError, match=r"shards\.json: its perceptual hashes are of version 'pHash of 64 bits'"
    ):
        pack_rows(tmp_path / "train", [("a", original(50))], validation=validation)
