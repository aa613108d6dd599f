"""Copies of validation images are left out of training, re-encoded and resized ones too; others stay."""

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
from cloob.shards.from_download import download_source
from cloob.shards.from_webdataset import webdataset_source
from cloob.shards.manifest import with_checksum
from cloob.shards.pack import PackOptions, pack
from cloob.shards.verify import verify
from tests.helpers.downloaded_parts import leave_download, uid
from tests.helpers.packing import RULES, by_caption, files_of, outcomes_of, pack_download, pack_source
from tests.helpers.scene_images import COPIES, encoded, scene
from tests.shards.test_from_webdataset import freeze
from tests.shards.test_killed import pack_until_killed_often

Row = tuple[str, bytes]


def packed(folder: Path, rows: list[Row], **more: Any) -> Path:
    return pack_download(leave_download(folder / "download", rows), folder / "shards", **more)


def original(number: int) -> bytes:
    return encoded(scene(number), quality=92)


@pytest.fixture
def validation(tmp_path: Path) -> Path:
    """Twelve images, packed."""
    return packed(
        tmp_path / "validation", [(f"validation {number}", original(number)) for number in range(12)]
    )


def test_copies_of_validation_images_are_left_out_and_others_stay(tmp_path: Path, validation: Path) -> None:
    copies = [(f"copy {name}", copy(scene(place))) for place, (name, copy) in enumerate(COPIES.items())]
    others = [(f"other {number}", original(100 + number)) for number in range(10)]
    rows = [*copies, ("the same", original(0)), *others]
    manifest = packed(tmp_path / "train", rows, validation=validation)
    expected = {"kept": 10, "near_duplicate_of_validation": len(copies), "in_validation": 1}
    assert outcomes_of(manifest) == read_outcomes(manifest.with_name("outcomes.csv")) == expected
    assert by_caption(manifest) == dict(others)


def test_every_row_is_in_the_ledger_with_the_image_that_it_copies(tmp_path: Path, validation: Path) -> None:
    rows = [
        ("other", original(100)),
        ("again", original(3)),
        ("copy", COPIES["jpeg 75"](scene(5))),
        ("", b""),
    ]
    manifest = packed(tmp_path / "train", rows, validation=validation)
    ledger = pq.read_table(manifest.with_name("ledger.parquet")).to_pylist()
    assert [(row["uid"], row["outcome"], row["duplicate_of"]) for row in ledger] == [
        (uid(1), "kept", None),
        (uid(2), "in_validation", uid(4)),
        (uid(3), "near_duplicate_of_validation", uid(6)),
        (uid(4), "empty_caption", None),
    ]


def test_every_image_of_a_corpus_that_holds_the_whole_split_encoded_anew_is_left_out(tmp_path: Path) -> None:
    """As in a corpus that img2dataset had scaled and encoded: byte for byte not one of them was found."""
    number = 60
    validation = packed(tmp_path / "v", [(f"v {place}", original(place)) for place in range(number)])
    members = []
    for place in range(2 * number):
        image = encoded(scene(place).resize((128, 96), Image.Resampling.LANCZOS), quality=90)
        members += [(f"{place:05d}.jpg", image), (f"{place:05d}.txt", f"caption {place}".encode())]
    frozen = webdataset_source(freeze(tmp_path / "frozen" / "0.tar", members), RULES.max_bytes)
    manifest = pack_source(frozen, tmp_path / "train", validation=validation)
    assert outcomes_of(manifest) == {"near_duplicate_of_validation": number, "kept": number}


def test_images_without_structure_are_compared_by_their_bytes_only(tmp_path: Path) -> None:
    def plain(color: str, quality: int) -> bytes:
        return encoded(Image.new("RGB", (64, 64), color), quality=quality)

    validation = packed(tmp_path / "v", [("white", plain("white", 90)), ("structure", original(1))])
    rows = [("white", plain("white", 90)), ("red", plain("red", 90)), ("another white", plain("white", 50))]
    manifest = packed(tmp_path / "train", rows, validation=validation)
    assert outcomes_of(manifest) == {"in_validation": 1, "kept": 2}
    assert read_json(manifest)["statistics"]["without_perceptual_hash"] == 2
    only_plain = packed(tmp_path / "w", [("white", plain("white", 90))])
    assert outcomes_of(packed(tmp_path / "t", rows, validation=only_plain)) == {"in_validation": 1, "kept": 2}


def test_the_distance_decides(tmp_path: Path, validation: Path) -> None:
    download = leave_download(
        tmp_path / "download", [("copy", COPIES["jpeg 75"](scene(2))), ("x", original(99))]
    )

    def outcomes(distance: int) -> dict[str, int]:
        out = tmp_path / f"at {distance}"
        pack(
            download_source(*download), out, out / "f.csv", PackOptions(10, 1, RULES, distance), 1, validation
        )
        return outcomes_of(out / "shards.json")

    assert outcomes(0) == {"kept": 2}
    assert outcomes(20) == {"kept": 1, "near_duplicate_of_validation": 1}


def test_of_several_images_the_nearest_one_is_named(tmp_path: Path) -> None:
    rows = [("faint", COPIES["half the size and back"](scene(1))), ("exact", COPIES["png"](scene(1)))]
    validation = packed(tmp_path / "v", rows)
    manifest = packed(
        tmp_path / "t", [("a", COPIES["jpeg 95"](scene(1))), ("b", original(9))], validation=validation
    )
    ledger = pq.read_table(manifest.with_name("ledger.parquet")).to_pylist()
    assert ledger[0]["duplicate_of"] == uid(2)


def test_several_processes_and_any_number_of_kills_end_in_the_same_bytes(
    tmp_path: Path, validation: Path
) -> None:
    rows = [(f"copy {name}", copy(scene(1))) for name, copy in COPIES.items()]
    rows += [(f"other {number}", original(50 + number)) for number in range(12)]
    download = leave_download(tmp_path / "download", rows)
    undisturbed = pack_download(download, tmp_path / "one", validation=validation)
    assert outcomes_of(undisturbed) == {"kept": 12, "near_duplicate_of_validation": len(COPIES)}
    two = pack_download(download, tmp_path / "two", processes=2, validation=validation)
    killed = tmp_path / "killed"
    pack_until_killed_often(download, killed, validation=validation)
    assert files_of(undisturbed.parent) == files_of(two.parent) == files_of(killed)


def test_every_image_has_its_hash_in_the_index_and_the_corpus_verifies(validation: Path) -> None:
    [index] = validation.parent.glob("000000.parquet")
    hashes = pq.read_table(index)["perceptual_hash"].to_pylist()
    assert len(set(hashes)) == len(hashes) > 1 and all(len(each) == 32 for each in hashes)
    assert "are what was packed" in verify(validation, validation.with_name("outcomes.csv"), 1)


def without_hashes(manifest: Path) -> None:
    """As an older version left it."""
    said = json.loads(manifest.read_text())
    for shard in said["shards"]:
        index = (manifest.parent / shard["name"]).with_suffix(".parquet")
        table = pq.read_table(index)
        pq.write_table(table.drop_columns(["perceptual_hash"]), index)
        shard["index_sha256"] = sha256(index.read_bytes()).hexdigest()
    write_json(manifest, with_checksum(said))


def test_a_validation_split_of_an_older_version_is_named_in_one_line(
    tmp_path: Path, validation: Path
) -> None:
    without_hashes(validation)
    with pytest.raises(InputError, match=r"000000\.parquet: .*lacks perceptual_hash; pack the shards again"):
        packed(tmp_path / "train", [("other", original(100))], validation=validation)
    # Its bytes are still those of its manifest.
    assert "are what was packed" in verify(validation, validation.with_name("outcomes.csv"), 1)


def test_shards_of_an_older_version_are_not_taken_for_finished_ones(tmp_path: Path) -> None:
    rows = [(f"picture {number}", original(number)) for number in range(12)]
    download = leave_download(tmp_path / "download", rows)
    manifest = pack_download(download, tmp_path / "shards")
    fresh = files_of(manifest.parent)
    without_hashes(manifest)
    assert files_of(pack_download(download, tmp_path / "shards").parent) == fresh


def test_a_part_in_which_no_link_was_kept_is_compared_too(tmp_path: Path, validation: Path) -> None:
    rows = [
        ("gone", "http_404"),
        ("gone", "dns"),
        ("copy", COPIES["webp"](scene(7))),
        ("other", original(70)),
    ]
    manifest = pack_download(leave_download(tmp_path / "d", rows), tmp_path / "t", validation=validation)
    assert outcomes_of(manifest) == {"kept": 1, "near_duplicate_of_validation": 1}
