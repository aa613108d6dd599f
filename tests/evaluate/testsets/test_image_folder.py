"""Folders of images: which folder is which label, and what is refused before anything is computed."""

import os
import shutil
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from cloob.common.errors import InputError
from cloob.evaluate.testsets.image_folder import LabeledFolder, load_image
from cloob.evaluate.testsets.spec import Description, load_spec
from tests.helpers.repository import ROOT


def read(
    describe: Callable, tmp_path: Path, folder: Path, split: str = "test", **changes: object
) -> LabeledFolder:
    return LabeledFolder(load_spec(describe(tmp_path / "d.yaml", **changes)), folder, split)


def labels_by_folder(folder: LabeledFolder) -> dict[str, int]:
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


SHIPPED = ROOT / "config" / "datasets"


def shipped(tmp_path: Path, name: str, **expected: object) -> Description:
    """A shipped description where only the names of the folders, and what is given, is expected."""
    content = yaml.safe_load((SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"))
    content["expected"] = {"classes": content["expected"]["classes"]} | expected
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return load_spec(tmp_path / f"{name}.yaml")


def folders_with_one_image(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder.parent / "one.png")
    for name in names:
        (folder / name).mkdir()
        os.link(folder.parent / "one.png", folder / name / "0.png")


WORDNET = [f"n{number:08d}" for number in range(1000)]  # their form, but not the ids


@pytest.mark.parametrize(
    ("names", "missing", "unexpected"),
    [
        (lambda ids: [f"{number:04d}" for number in range(1, 1001)], 1000, 1000),
        (lambda ids: [f"a fish {number:03d}" for number in range(1000)], 1000, 1000),
        (lambda ids: WORDNET, 1000, 1000),
        (lambda ids: [name.upper() for name in ids], 1000, 1000),
        (lambda ids: ids[:-1], 1, 0),
        (lambda ids: [*ids, "n99999999"], 0, 1),
        (lambda ids: [*ids[1:], "n99999999"], 1, 1),
    ],
)
def test_imagenets_folders_are_compared_by_name(
    tmp_path: Path, names: Callable, missing: int, unexpected: int
) -> None:
    description = shipped(tmp_path, "imagenet")
    folders_with_one_image(tmp_path / "set" / "val", names(list(description.folders)))
    with pytest.raises(InputError) as caught:
        LabeledFolder(description, tmp_path / "set")
    message = str(caught.value)
    assert "\n" not in message and len(message) < 900
    for count, what in ((missing, "missing"), (unexpected, "unexpected")):
        assert (f"{count} {what} (" in message) == bool(count)
    assert str(tmp_path / "imagenet.yaml") in message


def test_imagenets_own_folders_have_the_labels_of_their_ids(tmp_path: Path) -> None:
    description = shipped(tmp_path, "imagenet")
    folders_with_one_image(tmp_path / "set" / "val", reversed(description.folders))
    folder = LabeledFolder(description, tmp_path / "set")
    assert labels_by_folder(folder) == {name: label for label, name in enumerate(description.folders)}
    assert folder.class_names[labels_by_folder(folder)["n01443537"]] == "goldfish"


def test_class_folders_one_level_further_down_are_found_by_the_message(tmp_path: Path) -> None:
    description = shipped(tmp_path, "imagenet")
    folders_with_one_image(tmp_path / "set" / "val" / "val", description.folders)
    (tmp_path / "set" / "val" / "one.png").unlink()
    with pytest.raises(InputError, match=r"'val' where 'n01440764' is expected.*further down, in .*/val/val"):
        LabeledFolder(description, tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "names", "message"),
    [
        ("gtsrb", [f"{number:05d}" for number in range(1, 44)], "00043: not a class number from 0 to 42"),
        (
            "gtsrb",
            [f"{number:05d}" for number in range(42)],
            r"1 of the 43 class folders are missing \('42'\)",
        ),
        ("birdsnap", [f"{number:03d}" for number in range(1, 501)], "500: not a class number from 0 to 499"),
        ("imagenetv2", [str(number) for number in range(1, 1001)], "1000: not a class number from 0 to 999"),
        (
            "imagenetv2",
            [f"n{number:08d}" for number in range(1000)],
            r"not a class number .*1000 such of 1000",
        ),
        ("country211", [f"{number:03d}" for number in range(211)], "'000' where 'AD' is expected"),
        ("ucf101", [f"class {number:03d}" for number in range(101)], "where 'ApplyEyeMakeup' is expected"),
        ("flowers102", [f"{number:03d}" for number in [*range(101), 102]], "first missing: 101"),
        ("flowers102", [f"{number:03d}" for number in range(2, 104)], "not from 0 or 1 on"),
        ("stanford_cars", ["background", *(f"{number:03d}" for number in range(195))], "not 'background'"),
    ],
)
def test_folders_of_other_names_than_the_sets_are_refused(
    tmp_path: Path, name: str, names: list[str], message: str
) -> None:
    description = shipped(tmp_path, name)
    folders_with_one_image(tmp_path / "set" / description.test, names)
    with pytest.raises(InputError, match=message):
        LabeledFolder(description, tmp_path / "set")


@pytest.mark.parametrize("name", ["flowers102", "stanford_cars"])
def test_folders_called_as_the_classes_have_to_come_in_their_order(tmp_path: Path, name: str) -> None:
    """Stanford Cars: as text 'Volvo 240' sorts before 'Volvo C30', by its official id after it."""
    description = shipped(tmp_path, name)
    names = [each.replace(" ", "_").replace("/", "-") for each in description.class_names(tmp_path)]
    folders_with_one_image(tmp_path / "set" / "test", names)
    with pytest.raises(InputError, match=r"folders have the name of another class, first '.*`folders`"):
        LabeledFolder(description, tmp_path / "set")


def test_folders_called_as_the_classes_are_taken_with_a_number_in_front(tmp_path: Path) -> None:
    description = shipped(tmp_path, "flowers102")
    names = [f"{label:03d}.{name}" for label, name in enumerate(description.class_names(tmp_path), start=1)]
    folders_with_one_image(tmp_path / "set" / "test", names)
    assert LabeledFolder(description, tmp_path / "set").targets == list(range(102))


def test_listed_folders_are_found_by_name_whatever_their_order_as_text(
    describe: Callable, tmp_path: Path, make_set: Callable
) -> None:
    folder = make_set({"zebra": 1, "Apple": 1, "éclair": 1})
    read_set = read(describe, tmp_path, folder, folders=["zebra", "Apple", "éclair"])
    assert labels_by_folder(read_set) == {"zebra": 0, "Apple": 1, "éclair": 2}


LEFTOVERS = [".ipynb_checkpoints", ".DS_Store", "__MACOSX", "._0.png", "Thumbs.db", "@eaDir", "lost+found"]
LEFTOVERS += ["desktop.ini", ".nfs000000000001", ".Trash-1000", "$RECYCLE.BIN", "System Volume Information"]


@pytest.mark.parametrize("split", ["test", "train", "validation"])
@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("where", ["beside the classes", "in a class"])
def test_leftovers_are_neither_classes_nor_images(
    describe: Callable, tmp_path: Path, make_set: Callable, split: str, kind: str, where: str
) -> None:
    folder = make_set({"a": 1, "b": 1, "c": 1})
    for other in ("train", "validation"):
        shutil.copytree(folder / "test", folder / other)
    counted = {"images": 3, "train_images": 3, "validation_images": 3}
    changes = {"train": "train", "validation": "validation", "expected": counted}
    clean = read(describe, tmp_path, folder, split, **changes)
    expected = clean.names, clean.targets, clean.content_sha256(tmp_path / "memory")
    for name in [*LEFTOVERS, "0.png.part", ".old"]:
        path = folder / split / ("b" if where == "in a class" else "") / name
        if kind == "folder":
            path.mkdir()
            shutil.copy(folder / "test" / "a" / "0.png", path / "1.png")
        else:
            shutil.copy(folder / "test" / "a" / "0.png", path)
    found = read(describe, tmp_path, folder, split, **changes)
    assert (found.names, found.targets, found.content_sha256(tmp_path / "memory")) == expected


def test_where_counts_do_not_fit_the_message_names_what_was_left_out(
    describe: Callable, tmp_path: Path, make_set: Callable
) -> None:
    folder = make_set({"a": 3, "b": 3, "c": 3, "d": 3, "e": 3})
    (folder / "test" / "b" / "1.png").rename(folder / "test" / "b" / "1.png.part")
    shutil.copy(folder / "test" / "a" / "0.png", folder / "test" / "a" / "0 (1).png")
    shutil.copy(folder / "test" / "a" / "0.png", folder / "test" / "stray.png")
    with pytest.raises(InputError, match="15 images where 16 are expected by") as caught:
        read(describe, tmp_path, folder, classes=list("vwxyz"), expected={"images": 16})
    message = str(caught.value)
    for culprit in ("'b/1.png.part'", "'a/0 (1).png'", "'stray.png'", "'a (4)', 'b (2)'"):
        assert culprit in message


def test_where_classes_do_not_fit_the_message_names_those_of_another_form(
    describe: Callable, tmp_path: Path, make_set: Callable
) -> None:
    folder = make_set({"n001": 1, "n002": 1, "n003": 1, "meta data": 1})
    with pytest.raises(InputError, match=r"4 class folders where .* names 3 .*most: 'meta data'"):
        read(describe, tmp_path, folder)


@pytest.mark.parametrize(
    "changes", [{}, {"folders": ["0", "1", "2"]}, {"labels": "folder_number"}], ids=["order", "name", "no"]
)
def test_where_a_class_is_missing_the_message_names_a_folder_that_was_left_out(
    describe: Callable, tmp_path: Path, make_set: Callable, changes: dict
) -> None:
    folder = make_set({"0": 1, "1.part": 1, "2": 1, "@eaDir": 1})
    with pytest.raises(InputError, match=r"; not taken as classes: '1\.part'(;|$)"):
        read(describe, tmp_path, folder, **changes)


@pytest.mark.parametrize(("split", "kind"), [("train", "training"), ("validation", "validation")])
def test_training_and_validation_images_are_counted_too(
    describe: Callable, tmp_path: Path, make_set: Callable, split: str, kind: str
) -> None:
    folder = make_set({"a": 1, "b": 1, "c": 1})
    shutil.copytree(folder / "test", folder / split)
    changes = {"train": None} | {split: split}
    read(describe, tmp_path, folder, split, **changes, expected={f"{split}_images": 3})
    with pytest.raises(InputError, match=f"3 {kind} images where 4 are .*`expected: {split}_images` to null"):
        read(describe, tmp_path, folder, split, **changes, expected={f"{split}_images": 4})


def test_a_link_to_the_test_images_is_no_training_set(
    describe: Callable, tmp_path: Path, make_set: Callable
) -> None:
    folder = make_set({"a": 1, "b": 1, "c": 1})
    (folder / "train").symlink_to("test")
    with pytest.raises(InputError, match="train: the same folder as the test images"):
        read(describe, tmp_path, folder, "train", train="train")


def test_numbers_within_names_that_sort_wrongly_as_text_are_refused(tmp_path: Path) -> None:
    description = shipped(tmp_path, "flowers102")
    folders_with_one_image(tmp_path / "set" / "test", [f"class {number}" for number in range(1, 103)])
    with pytest.raises(InputError, match=r"sort wrongly as text \('class 10' before 'class 2'\)"):
        LabeledFolder(description, tmp_path / "set")


@pytest.mark.parametrize("names", [["Curaçao", "b", "c"], ["001", "002", "003"]])
def test_training_folders_may_be_written_otherwise_than_the_tests(
    describe: Callable, tmp_path: Path, make_set: Callable, names: list[str]
) -> None:
    folder = make_set(dict.fromkeys(names, 1))
    for name in names:
        other = str(int(name)) if name.isdigit() else unicodedata.normalize("NFD", name)
        shutil.copytree(folder / "test" / name, folder / "train" / other)
    train = read(describe, tmp_path, folder, "train", train="train")
    assert train.targets == read(describe, tmp_path, folder, train="train").targets


def test_a_link_to_nothing_is_named(describe: Callable, tmp_path: Path, make_set: Callable) -> None:
    folder = make_set({"a": 1, "b": 1, "c": 1})
    (folder / "test" / "b" / "1.png").symlink_to("nowhere.png")
    with pytest.raises(InputError, match=r"b/1\.png: a link to nothing"):
        read(describe, tmp_path, folder)
