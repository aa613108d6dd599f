"""Retrieval sets with Karpathy's splits: what is read, and one-line errors for invalid files."""

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.evaluate.retrieval_sets.load import open_retrieval_set
from cloob.evaluate.retrieval_sets.retrieval_set import RetrievalSet
from cloob.images.files import MAX_FILE_BYTES
from tests.helpers.webdataset_folders import image


def entry(name: str, captions: list[object], split: str = "test", **more: object) -> dict:
    return {"filename": name, "split": split, "sentences": [{"raw": text} for text in captions], **more}


FLICKR = [
    entry("1.jpg", ["a dog", "two dogs"]),
    entry("2.jpg", ["a cat"], "train"),
    entry("3.jpg", ["a red bird", " ", "a bird", "birds"]),
    entry("1.jpg", ["a house"], filepath="val2014"),
]


def write(tmp_path: Path, images: object, missing: tuple[str, ...] = ()) -> Path:
    folder = tmp_path / "images"
    (folder / "val2014").mkdir(parents=True, exist_ok=True)
    for level, name in enumerate(("1.jpg", "2.jpg", "3.jpg", "val2014/1.jpg")):
        if name not in missing:
            (folder / name).write_bytes(image(level, "JPEG"))
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"dataset": "flickr30k", "images": images}))
    return path


def load(tmp_path: Path, images: object = FLICKR, split: str = "test", **options: object) -> RetrievalSet:
    path = write(tmp_path, images, **options)
    return open_retrieval_set(path, tmp_path / "cache", tmp_path / "images", split)


def test_images_and_captions_of_the_split_are_read_in_order(tmp_path: Path, capsys) -> None:
    pairs = load(tmp_path)
    assert pairs.num_images == 3
    assert [pairs.caption(index) for index in range(6)] == [
        "a dog",
        "two dogs",
        "a red bird",
        "a bird",
        "birds",
        "a house",
    ]
    assert list(pairs.image_of_text) == [0, 0, 1, 1, 1, 2]
    assert [pairs.image(index)[0] for index in range(3)] == [image(level, "JPEG") for level in (0, 2, 3)]
    assert "1 blank captions are ignored" in capsys.readouterr().out
    assert load(tmp_path, split="train").num_images == 1


def test_images_that_may_not_fit_into_memory_are_rejected_unread(tmp_path: Path) -> None:
    pairs = load(tmp_path)
    os.truncate(tmp_path / "images" / "3.jpg", MAX_FILE_BYTES + 1)
    with pytest.raises(InputError, match=r"3\.jpg: larger than 500 MB; give a smaller image"):
        pairs.image(1)


def test_hash_changes_with_images_and_captions_only(tmp_path: Path) -> None:
    before = load(tmp_path).sha256
    assert load(tmp_path, [*FLICKR, entry("2.jpg", ["x"], "val")]).sha256 == before
    assert load(tmp_path, [*FLICKR[:3], entry("1.jpg", ["a hut"], filepath="val2014")]).sha256 != before
    (tmp_path / "images" / "3.jpg").write_bytes(image(9, "JPEG"))
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"images": FLICKR}))
    assert open_retrieval_set(path, tmp_path / "cache", tmp_path / "images").sha256 != before


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["a"], "dataset.json: image 0 has no `split`; give the JSON of Karpathy's splits"),
        ([{"split": "test", "sentences": []}], "image 0 has no `filename`"),
        ([entry("1.jpg", [])], "image 0 (1.jpg) has no caption; add one, or remove the image"),
        ([entry("1.jpg", ["", "  "])], "image 0 (1.jpg) has no caption"),
        ([{"split": "test", "filename": "1.jpg"}], "image 0 (1.jpg) has no caption"),
        ([entry("1.jpg", ["a", 5])], "image 0 (1.jpg): sentence 1 has no text `raw`"),
        ([FLICKR[0], FLICKR[0]], "image 1 (1.jpg) is also image 0; remove one of them"),
        ([entry("../1.jpg", ["a"])], "image 0 has the unsafe file name '../1.jpg'; correct it"),
        ([entry("/etc/passwd", ["a"])], "unsafe file name"),
        ([entry("4.jpg", ["a"])], "images/4.jpg: missing, but "),
        ([FLICKR[1]], "dataset.json: no images of the split 'test'; it has: train"),
        ([], "no images of the split 'test'; it has: none"),
    ],
)
def test_invalid_entry_is_reported_with_its_number(tmp_path: Path, images: list, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load(tmp_path, images)


def test_missing_images_are_reported_with_the_entry(tmp_path: Path) -> None:
    message = (
        r"images/3.jpg: missing, but .*dataset.json lists it as image 2; give the folder with all images"
    )
    with pytest.raises(InputError, match=message):
        load(tmp_path, missing=("3.jpg",))


def test_file_that_is_not_json_is_not_to_be_deleted(tmp_path: Path) -> None:
    path = tmp_path / "dataset_coco.json"
    path.write_bytes(gzip.compress(b"{}"))
    with pytest.raises(InputError, match=r"coco.json: not JSON .*; give the JSON of Karpathy's splits, or a"):
        open_retrieval_set(path, tmp_path / "cache")
