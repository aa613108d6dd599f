"""Folders of images: which folder is which label, and what is refused before anything is computed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cloob.errors import InputError
from cloob.evaluate.images import LabelledFolder, load_image
from cloob.evaluate.testset import load_description


def read(
    describe: Callable, tmp_path: Path, folder: Path, split: str = "test", **changes: object
) -> LabelledFolder:
    return LabelledFolder(load_description(describe(tmp_path / "d.yaml", **changes)), folder, split)


def labels_by_folder(folder: LabelledFolder) -> dict[str, int]:
    return {Path(path).parent.name: label for path, label in folder.samples}


def test_an_empty_folder_keeps_its_label(describe: Callable, tmp_path: Path, make_set: Callable) -> None:
    folder = make_set({"000": 2, "001": 0, "002": 1})
    read_set = read(describe, tmp_path, folder, expected={"classes": 3, "images": 3, "empty": [1]})
    assert labels_by_folder(read_set) == {"000": 0, "002": 2}


def test_a_deleted_empty_folder_is_refused(describe: Callable, tmp_path: Path, make_set: Callable) -> None:
    folder = make_set({"000": 2, "002": 1})
    with pytest.raises(InputError, match=r"2 class folders where .* names 3 classes; an empty class needs"):
        read(describe, tmp_path, folder)


def test_numbered_folders_are_the_labels_though_ten_sorts_before_two(
    describe: Callable, tmp_path: Path, make_set: Callable
) -> None:
    folder = make_set({str(number): 1 for number in range(12)})
    classes = [f"class {number}" for number in range(12)]
    read_set = read(describe, tmp_path, folder, labels="folder_number", classes=classes)
    assert labels_by_folder(read_set) == {str(number): number for number in range(12)}


def test_unpadded_numbers_in_folder_order_are_refused(
    describe: Callable, tmp_path: Path, make_set: Callable
) -> None:
    folder = make_set({str(number): 1 for number in range(12)})
    with pytest.raises(InputError, match=r"'10' before '2'.*labels: folder_number"):
        read(describe, tmp_path, folder, classes=[f"class {number}" for number in range(12)])


@pytest.mark.parametrize(
    ("folders", "changes", "message"),
    [
        ({"a": 1, "b": 1, "c": 1}, {"expected": {"images": 4}}, "3 images where 4 are expected by"),
        ({"a": 1, "b": 0, "c": 1}, {"expected": {"empty": []}}, r"without images are \[1\] where \[\]"),
        ({"a": 1, "b": 1, "c": 1}, {"expected": {"classes": 5}}, "3 class names where 5 are expected"),
        ({"a": 0, "b": 0, "c": 0}, {}, "no images in the class folders"),
        ({"a": 1, "1": 1, "2": 1}, {"labels": "folder_number"}, "a: not a class number from 0 to 2"),
        ({"0": 1, "1": 1, "3": 1}, {"labels": "folder_number"}, "3: not a class number from 0 to 2"),
        ({"0": 1, "1": 1, "01": 1}, {"labels": "folder_number"}, "the same class number"),
        ({}, {}, "no class folders here"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(
    describe: Callable, tmp_path: Path, make_set: Callable, folders: dict, changes: dict, message: str
) -> None:
    folder = make_set(folders)
    with pytest.raises(InputError, match=message) as caught:
        read(describe, tmp_path, folder, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["1.gif", "1.JPEG2000", "1", "0.png.part", "1.png/", "more/1.png", ".old/1.png"]
)
def test_a_file_that_would_be_left_out_or_counted_from_further_down_is_named(
    describe: Callable, tmp_path: Path, make_set: Callable, name: str
) -> None:
    folder = make_set({"a": 1, "b": 1, "c": 1})
    path = folder / "test" / "b" / name
    (path if name.endswith("/") else path.parent).mkdir(exist_ok=True)
    if not name.endswith("/"):
        shutil.copy(folder / "test" / "a" / "0.png", path)
    entry = folder / "test" / "b" / Path(name).parts[0]
    with pytest.raises(
        InputError, match=rf"^{entry}: no image of a known suffix \(.*\.png.*\); .* move it out"
    ):
        read(describe, tmp_path, folder)


def test_tables_and_what_desktops_leave_in_folders_are_no_images_and_no_error(
    describe: Callable, tmp_path: Path, make_set: Callable
) -> None:
    folder = make_set({"a": 1, "b": 1, "c": 1})
    for name in (".DS_Store", "Thumbs.db", "GT-00000.csv"):
        (folder / "test" / "a" / name).write_bytes(b"litter")
    (folder / "test" / "b" / "0.png").rename(folder / "test" / "b" / "0.PNG")
    (folder / "test" / "read me").write_text("beside the class folders")
    assert read(describe, tmp_path, folder).names == ["a/0.png", "b/0.PNG", "c/0.png"]


def test_the_hash_follows_the_files(describe: Callable, tmp_path: Path, make_set: Callable) -> None:
    folder = make_set({"a": 1, "b": 1, "c": 1})
    memory = tmp_path / "memory"
    before = read(describe, tmp_path, folder).content_sha256(memory)
    assert read(describe, tmp_path, folder).content_sha256(memory) == before
    (folder / "test" / "a" / "0.png").rename(folder / "test" / "b" / "1.png")
    assert read(describe, tmp_path, folder).content_sha256(memory) != before


def test_the_hash_is_of_the_bytes_wherever_they_lie(
    describe: Callable, tmp_path: Path, make_set: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, memory = make_set({"a": 2, "b": 1, "c": 1}), tmp_path / "memory"
    before = read(describe, tmp_path, folder).content_sha256(memory)
    shutil.copytree(folder, tmp_path / "copy")
    assert read(describe, tmp_path, tmp_path / "copy").content_sha256(memory) == before
    path = folder / "test" / "a" / "1.png"
    content, stat = bytearray(path.read_bytes()), path.stat()
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # of equal size and time
    after = read(describe, tmp_path, folder).content_sha256(memory)
    assert after != before
    monkeypatch.setattr(Path, "read_bytes", None)
    assert read(describe, tmp_path, folder).content_sha256(memory) == after  # not read again


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"sha256": '])
def test_a_damaged_memory_of_the_hash_is_made_again(
    describe: Callable, tmp_path: Path, make_set: Callable, damage: str
) -> None:
    folder, memory = read(describe, tmp_path, make_set({"a": 2, "b": 1, "c": 1})), tmp_path / "memory"
    before = folder.content_sha256(memory)
    [remembered] = memory.rglob("*.json")
    remembered.write_text(damage)
    assert folder.content_sha256(memory) == before
    assert before in remembered.read_text()


def test_training_folders_that_are_not_the_tests_are_refused(
    describe: Callable, tmp_path: Path, make_set: Callable
) -> None:
    folder = make_set({"a": 1, "b": 1, "c": 1})
    shutil.copytree(folder / "test", folder / "train")
    (folder / "train" / "c").rename(folder / "train" / "aa")  # b would become the third class
    read(describe, tmp_path, folder, train="train")
    with pytest.raises(
        InputError, match=r"train: the class folders are not those of the test images \(as aa"
    ):
        read(describe, tmp_path, folder, "train", train="train")


def test_another_split_is_read_from_its_own_folder_and_need_not_have_the_tests_number(
    describe: Callable, tmp_path: Path, make_set: Callable
) -> None:
    folder = make_set({"a": 1, "b": 1, "c": 1})
    (folder / "test").rename(folder / "held out")
    (make_set({"a": 2, "b": 0, "c": 3}) / "test").rename(folder / "train")
    of = {"test": "held out", "train": "train", "expected": {"images": 3, "empty": []}}
    assert read(describe, tmp_path, folder, **of).targets == [0, 1, 2]
    train = read(describe, tmp_path, folder, "train", **of)
    assert (train.targets, train.names[-1]) == ([0, 0, 2, 2, 2], "c/2.png")
    with pytest.raises(InputError, match="Colours has no validation split"):
        read(describe, tmp_path, folder, "validation", **of)


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    Image.effect_noise((64, 64), 80).save(broken)
    broken.write_bytes(broken.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"broken\.jpg: not a readable image"):
        load_image(broken)


def test_text_under_an_images_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    path.write_text("<html>gone</html>")
    with pytest.raises(InputError, match=r"page\.jpg: not a readable image"):
        load_image(str(path))


@pytest.mark.parametrize("excess", [1, 3])  # Pillow warns above its limit and refuses from twice the limit
def test_a_decompression_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excess: int
) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (100 * excess, 101)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100 * 100)
    with pytest.raises(InputError, match=r"bomb\.png: more than 10000 pixels, refused"):
        load_image(str(path))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new(mode, (9, 7)).save(path)
    assert load_image(path).mode == "RGB"
