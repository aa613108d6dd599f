"""Image folders: the labels of class folders, and the validation before anything is computed."""

import os
import shutil
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from cloob.common.errors import InputError
from cloob.evaluate.testsets import content_hash
from cloob.evaluate.testsets.image_folder import LabeledFolder, load_image
from cloob.evaluate.testsets.spec import TestSetSpec, load_spec
from cloob.images.files import MAX_FILE_BYTES
from tests.helpers.repository import ROOT


def read(
    write_spec: Callable, tmp_path: Path, folder: Path, split: str = "test", **changes: object
) -> LabeledFolder:
    return LabeledFolder(load_spec(write_spec(tmp_path / "d.yaml", **changes)), folder, split)


def labels_by_folder(folder: LabeledFolder) -> dict[str, int]:
    return {Path(path).parent.name: label for path, label in folder.samples}


def test_empty_folder_keeps_its_label(write_spec: Callable, tmp_path: Path, make_testset: Callable) -> None:
    folder = make_testset({"000": 2, "001": 0, "002": 1})
    folder_set = read(write_spec, tmp_path, folder, expected={"classes": 3, "images": 3, "empty": [1]})
    assert labels_by_folder(folder_set) == {"000": 0, "002": 2}


def test_names_and_hash_are_those_of_any_other_path_in_the_working_directory(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_testset({"ab": 1, "cd": 1, "ef": 1})
    elsewhere = read(write_spec, tmp_path, folder)
    monkeypatch.chdir(folder / "test")
    here = read(write_spec, tmp_path, Path(), test=".")
    assert here.names == elsewhere.names == ["ab/0.png", "cd/0.png", "ef/0.png"]
    assert here.content_sha256(tmp_path / "cache") == elsewhere.content_sha256(tmp_path / "cache")


def test_missing_empty_folder_is_rejected(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({"000": 2, "002": 1})
    with pytest.raises(InputError, match=r"2 class folders where .* names 3 classes; an empty class needs"):
        read(write_spec, tmp_path, folder)


def test_folder_numbers_are_labels_independent_of_text_order(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({str(number): 1 for number in range(12)})
    classes = [f"class {number}" for number in range(12)]
    folder_set = read(write_spec, tmp_path, folder, labels="folder_number", classes=classes)
    assert labels_by_folder(folder_set) == {str(number): number for number in range(12)}


def test_unpadded_numbers_with_folder_order_are_rejected(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({str(number): 1 for number in range(12)})
    with pytest.raises(InputError, match=r"'10' before '2'.*labels: folder_number"):
        read(write_spec, tmp_path, folder, classes=[f"class {number}" for number in range(12)])


@pytest.mark.parametrize(
    ("folders", "changes", "message"),
    [
        ({"a": 1, "b": 1, "c": 1}, {"expected": {"images": 4}}, "3 images where .* expects 4"),
        (
            {"a": 1, "b": 0, "c": 1},
            {"expected": {"empty": []}},
            r"without images are \[1\] where .* expects \[\]",
        ),
        ({"a": 1, "b": 1, "c": 1}, {"expected": {"classes": 5}}, "3 class names where 5 are expected"),
        ({"a": 0, "b": 0, "c": 0}, {}, "no images in the class folders"),
        ({"a": 1, "1": 1, "2": 1}, {"labels": "folder_number"}, "a: not a class number from 0 to 2"),
        ({"0": 1, "1": 1, "3": 1}, {"labels": "folder_number"}, "3: not a class number from 0 to 2"),
        ({"0": 1, "1": 1, "01": 1}, {"labels": "folder_number"}, "the same class number"),
        ({}, {}, "no class folders; .* requires"),
    ],
)
def test_folder_that_does_not_match_the_spec_is_rejected(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, folders: dict, changes: dict, message: str
) -> None:
    folder = make_testset(folders)
    with pytest.raises(InputError, match=message) as caught:
        read(write_spec, tmp_path, folder, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["1.gif", "1.JPEG2000", "1", "0.png.part", "1.png/", "more/1.png", ".old/1.png"]
)
def test_unexpected_file_or_subfolder_in_a_class_folder_is_reported(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, name: str
) -> None:
    folder = make_testset({"a": 1, "b": 1, "c": 1})
    path = folder / "test" / "b" / name
    (path if name.endswith("/") else path.parent).mkdir(exist_ok=True)
    if not name.endswith("/"):
        shutil.copy(folder / "test" / "a" / "0.png", path)
    entry = folder / "test" / "b" / Path(name).parts[0]
    message = r"not an image with a known suffix \(.*\.png.*\) directly in the class folder; .* move it"
    with pytest.raises(InputError, match=f"^{entry}: {message}"):
        read(write_spec, tmp_path, folder)


def test_annotation_files_and_leftovers_are_ignored(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({"a": 1, "b": 1, "c": 1})
    for name in (".DS_Store", "Thumbs.db", "GT-00000.csv"):
        (folder / "test" / "a" / name).write_bytes(b"litter")
    (folder / "test" / "b" / "0.png").rename(folder / "test" / "b" / "0.PNG")
    (folder / "test" / "read me").write_text("beside the class folders")
    assert read(write_spec, tmp_path, folder).names == ["a/0.png", "b/0.PNG", "c/0.png"]


def test_content_hash_changes_if_a_file_is_moved(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({"a": 1, "b": 1, "c": 1})
    cache = tmp_path / "cache"
    before = read(write_spec, tmp_path, folder).content_sha256(cache)
    assert read(write_spec, tmp_path, folder).content_sha256(cache) == before
    (folder / "test" / "a" / "0.png").rename(folder / "test" / "b" / "1.png")
    assert read(write_spec, tmp_path, folder).content_sha256(cache) != before


def test_content_hash_depends_on_bytes_but_not_on_location(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = make_testset({"a": 2, "b": 1, "c": 1}), tmp_path / "cache"
    before = read(write_spec, tmp_path, folder).content_sha256(cache)
    shutil.copytree(folder, tmp_path / "copy")
    assert read(write_spec, tmp_path, tmp_path / "copy").content_sha256(cache) == before
    path = folder / "test" / "a" / "1.png"
    content, stat = bytearray(path.read_bytes()), path.stat()
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size and modification time
    after = read(write_spec, tmp_path, folder).content_sha256(cache)
    assert after != before
    monkeypatch.setattr(content_hash, "_digest", None)
    assert read(write_spec, tmp_path, folder).content_sha256(cache) == after  # from the cache


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"sha256": ', '{"sha256": "", "files": "no hash"}'])
def test_damaged_hash_cache_is_recomputed(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, damage: str
) -> None:
    folder, cache = make_testset({"a": 2, "b": 1, "c": 1}), tmp_path / "cache"
    before = read(write_spec, tmp_path, folder).content_sha256(cache)
    [cached] = cache.rglob("*.json")
    cached.write_text(damage)
    assert read(write_spec, tmp_path, folder).content_sha256(cache) == before
    assert before in cached.read_text()


def test_training_folders_that_differ_from_the_test_folders_are_rejected(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({"a": 1, "b": 1, "c": 1})
    shutil.copytree(folder / "test", folder / "train")
    (folder / "train" / "c").rename(folder / "train" / "aa")  # b would become the third class
    read(write_spec, tmp_path, folder, train="train")
    with pytest.raises(
        InputError, match=r"train: the class folders differ from those of the test images \(such as aa"
    ):
        read(write_spec, tmp_path, folder, "train", train="train")


def test_training_split_has_its_own_folder_and_number_of_images(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({"a": 1, "b": 1, "c": 1})
    (folder / "test").rename(folder / "held out")
    (make_testset({"a": 2, "b": 0, "c": 3}) / "test").rename(folder / "train")
    keys = {"test": "held out", "train": "train", "expected": {"images": 3, "empty": []}}
    assert read(write_spec, tmp_path, folder, **keys).targets == [0, 1, 2]
    train = read(write_spec, tmp_path, folder, "train", **keys)
    assert (train.targets, train.names[-1]) == ([0, 0, 2, 2, 2], "c/2.png")
    with pytest.raises(InputError, match="Colors has no validation split"):
        read(write_spec, tmp_path, folder, "validation", **keys)


def test_truncated_image_is_reported(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    Image.effect_noise((64, 64), 80).save(broken)
    broken.write_bytes(broken.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"broken\.jpg: not a readable image"):
        load_image(broken)


def test_text_file_with_an_image_suffix_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    path.write_text("<html>gone</html>")
    with pytest.raises(InputError, match=r"page\.jpg: not a readable image"):
        load_image(str(path))


@pytest.mark.parametrize("excess", [1, 3])  # Pillow warns above its limit and raises above twice the limit
def test_decompression_bomb_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excess: int) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (100 * excess, 101)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100 * 100)
    with pytest.raises(InputError, match=r"bomb\.png: more than 10000 pixels, rejected"):
        load_image(str(path))


def test_files_that_may_not_fit_into_memory_are_rejected_unread(tmp_path: Path) -> None:
    path = tmp_path / "movie.jpg"
    path.touch()
    os.truncate(path, MAX_FILE_BYTES + 1)
    with pytest.raises(InputError, match=r"movie\.jpg: larger than 500 MB; give a smaller image"):
        load_image(path)


@pytest.mark.parametrize("size", [(1, 201), (65_535, 1), (1, 10_000_000)])
def test_strips_whose_shorter_side_cannot_be_scaled_are_rejected(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """The shorter side is scaled to the input size of the model, and the longer one with it."""
    path = tmp_path / "strip.png"
    Image.new("1", size).save(path)
    with pytest.raises(InputError, match=r"strip\.png: .* more than 200 times as long as wide; replace the"):
        load_image(str(path))
    Image.new("1", (1, 200)).save(path)
    assert load_image(str(path)).size == (1, 200)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_every_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new(mode, (9, 7)).save(path)
    assert load_image(path).mode == "RGB"


SPECS = ROOT / "config" / "datasets"


def spec_without_counts(tmp_path: Path, name: str, **expected: object) -> TestSetSpec:
    """A spec of config/datasets without expected counts, except for `expected`."""
    content = yaml.safe_load((SPECS / f"{name}.yaml").read_text(encoding="utf-8"))
    content["expected"] = {"classes": content["expected"]["classes"]} | expected
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return load_spec(tmp_path / f"{name}.yaml")


def folders_with_one_image(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder.parent / "one.png")
    for name in names:
        (folder / name).mkdir()
        os.link(folder.parent / "one.png", folder / name / "0.png")


WORDNET = [f"n{number:08d}" for number in range(1000)]  # the form of WordNet ids, but none of ImageNet


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
def test_imagenet_folders_are_validated_by_name(
    tmp_path: Path, names: Callable, missing: int, unexpected: int
) -> None:
    spec = spec_without_counts(tmp_path, "imagenet")
    folders_with_one_image(tmp_path / "set" / "val", names(list(spec.folders)))
    with pytest.raises(InputError) as caught:
        LabeledFolder(spec, tmp_path / "set")
    message = str(caught.value)
    assert "\n" not in message and len(message) < 900
    for count, kind in ((missing, "missing"), (unexpected, "unexpected")):
        assert (f"{count} {kind} (" in message) == bool(count)
    assert str(tmp_path / "imagenet.yaml") in message


def test_imagenet_folders_have_the_labels_of_their_wordnet_ids(tmp_path: Path) -> None:
    spec = spec_without_counts(tmp_path, "imagenet")
    folders_with_one_image(tmp_path / "set" / "val", reversed(spec.folders))
    folder = LabeledFolder(spec, tmp_path / "set")
    assert labels_by_folder(folder) == {name: label for label, name in enumerate(spec.folders)}
    assert folder.class_names[labels_by_folder(folder)["n01443537"]] == "goldfish"


def test_message_hints_at_class_folders_one_level_deeper(tmp_path: Path) -> None:
    spec = spec_without_counts(tmp_path, "imagenet")
    folders_with_one_image(tmp_path / "set" / "val" / "val", spec.folders)
    (tmp_path / "set" / "val" / "one.png").unlink()
    with pytest.raises(InputError, match=r"'val' instead of 'n01440764'.*one level deeper, in .*/val/val"):
        LabeledFolder(spec, tmp_path / "set")


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
            r"not a class number .*1000 of 1000 folders are invalid",
        ),
        ("country211", [f"{number:03d}" for number in range(211)], "'000' instead of 'AD'"),
        ("ucf101", [f"class {number:03d}" for number in range(101)], "instead of 'ApplyEyeMakeup'"),
        ("flowers102", [f"{number:03d}" for number in [*range(101), 102]], "first missing: 101"),
        ("flowers102", [f"{number:03d}" for number in range(2, 104)], "not consecutive from 0 or 1"),
        ("stanford_cars", ["background", *(f"{number:03d}" for number in range(195))], "not 'background'"),
    ],
)
def test_folders_with_unexpected_names_are_rejected(
    tmp_path: Path, name: str, names: list[str], message: str
) -> None:
    spec = spec_without_counts(tmp_path, name)
    folders_with_one_image(tmp_path / "set" / spec.test, names)
    with pytest.raises(InputError, match=message):
        LabeledFolder(spec, tmp_path / "set")


@pytest.mark.parametrize("name", ["flowers102", "stanford_cars"])
def test_folders_named_by_classes_must_have_the_order_of_the_classes(tmp_path: Path, name: str) -> None:
    """Stanford Cars: as text 'Volvo 240' sorts before 'Volvo C30', by its official id after it."""
    spec = spec_without_counts(tmp_path, name)
    names = [name.replace(" ", "_").replace("/", "-") for name in spec.class_names(tmp_path)]
    folders_with_one_image(tmp_path / "set" / "test", names)
    with pytest.raises(InputError, match=r"folders have the name of another class, first '.*`folders`"):
        LabeledFolder(spec, tmp_path / "set")


def test_folders_named_by_number_and_class_are_accepted(tmp_path: Path) -> None:
    spec = spec_without_counts(tmp_path, "flowers102")
    names = [f"{label:03d}.{name}" for label, name in enumerate(spec.class_names(tmp_path), start=1)]
    folders_with_one_image(tmp_path / "set" / "test", names)
    assert LabeledFolder(spec, tmp_path / "set").targets == list(range(102))


def test_listed_folders_are_identified_by_name_independent_of_text_order(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({"zebra": 1, "Apple": 1, "éclair": 1})
    folder_set = read(write_spec, tmp_path, folder, folders=["zebra", "Apple", "éclair"])
    assert labels_by_folder(folder_set) == {"zebra": 0, "Apple": 1, "éclair": 2}


LEFTOVERS = [".ipynb_checkpoints", ".DS_Store", "__MACOSX", "._0.png", "Thumbs.db", "@eaDir", "lost+found"]
LEFTOVERS += ["desktop.ini", ".nfs000000000001", ".Trash-1000", "$RECYCLE.BIN", "System Volume Information"]


@pytest.mark.parametrize("split", ["test", "train", "validation"])
@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("location", ["beside the classes", "in a class"])
def test_leftovers_are_neither_classes_nor_images(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, split: str, kind: str, location: str
) -> None:
    folder = make_testset({"a": 1, "b": 1, "c": 1})
    for other in ("train", "validation"):
        shutil.copytree(folder / "test", folder / other)
    counted = {"images": 3, "train_images": 3, "validation_images": 3}
    changes = {"train": "train", "validation": "validation", "expected": counted}
    clean = read(write_spec, tmp_path, folder, split, **changes)
    expected = clean.names, clean.targets, clean.content_sha256(tmp_path / "cache")
    for name in [*LEFTOVERS, "0.png.part", ".old"]:
        path = folder / split / ("b" if location == "in a class" else "") / name
        if kind == "folder":
            path.mkdir()
            shutil.copy(folder / "test" / "a" / "0.png", path / "1.png")
        else:
            shutil.copy(folder / "test" / "a" / "0.png", path)
    split_folder = read(write_spec, tmp_path, folder, split, **changes)
    assert (
        split_folder.names,
        split_folder.targets,
        split_folder.content_sha256(tmp_path / "cache"),
    ) == expected


def test_message_about_a_wrong_count_lists_possible_causes(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({"a": 3, "b": 3, "c": 3, "d": 3, "e": 3})
    (folder / "test" / "b" / "1.png").rename(folder / "test" / "b" / "1.png.part")
    shutil.copy(folder / "test" / "a" / "0.png", folder / "test" / "a" / "0 (1).png")
    shutil.copy(folder / "test" / "a" / "0.png", folder / "test" / "stray.png")
    with pytest.raises(InputError, match=r"15 images where .* expects 16") as caught:
        read(write_spec, tmp_path, folder, classes=list("vwxyz"), expected={"images": 16})
    message = str(caught.value)
    for cause in ("'b/1.png.part'", "'a/0 (1).png'", "'stray.png'", "'a (4)', 'b (2)'"):
        assert cause in message


def test_message_about_extra_folders_lists_unusual_names(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({"n001": 1, "n002": 1, "n003": 1, "meta data": 1})
    with pytest.raises(InputError, match=r"4 class folders where .* names 3 .*unusual names: 'meta data'"):
        read(write_spec, tmp_path, folder)


@pytest.mark.parametrize(
    "changes", [{}, {"folders": ["0", "1", "2"]}, {"labels": "folder_number"}], ids=["order", "name", "no"]
)
def test_message_about_a_missing_class_lists_ignored_folders(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, changes: dict
) -> None:
    folder = make_testset({"0": 1, "1.part": 1, "2": 1, "@eaDir": 1})
    with pytest.raises(InputError, match=r"; ignored as leftovers: '1\.part'(;|$)"):
        read(write_spec, tmp_path, folder, **changes)


@pytest.mark.parametrize(("split", "kind"), [("train", "training"), ("validation", "validation")])
def test_training_and_validation_images_are_counted(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, split: str, kind: str
) -> None:
    folder = make_testset({"a": 1, "b": 1, "c": 1})
    shutil.copytree(folder / "test", folder / split)
    changes = {"train": None} | {split: split}
    read(write_spec, tmp_path, folder, split, **changes, expected={f"{split}_images": 3})
    with pytest.raises(
        InputError, match=f"3 {kind} images where .* expects 4.*`expected.{split}_images` to null"
    ):
        read(write_spec, tmp_path, folder, split, **changes, expected={f"{split}_images": 4})


def test_symbolic_link_to_the_test_images_is_rejected_as_training_set(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({"a": 1, "b": 1, "c": 1})
    (folder / "train").symlink_to("test")
    with pytest.raises(InputError, match="train: this is the folder of the test images"):
        read(write_spec, tmp_path, folder, "train", train="train")


def test_unpadded_numbers_within_names_are_rejected(tmp_path: Path) -> None:
    spec = spec_without_counts(tmp_path, "flowers102")
    folders_with_one_image(tmp_path / "set" / "test", [f"class {number}" for number in range(1, 103)])
    with pytest.raises(InputError, match=r"sort wrongly as text \('class 10' before 'class 2'\)"):
        LabeledFolder(spec, tmp_path / "set")


@pytest.mark.parametrize("names", [["Curaçao", "b", "c"], ["001", "002", "003"]])
def test_training_and_test_folders_may_differ_in_zero_padding_and_unicode_form(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, names: list[str]
) -> None:
    folder = make_testset(dict.fromkeys(names, 1))
    for name in names:
        other = str(int(name)) if name.isdigit() else unicodedata.normalize("NFD", name)
        shutil.copytree(folder / "test" / name, folder / "train" / other)
    train = read(write_spec, tmp_path, folder, "train", train="train")
    assert train.targets == read(write_spec, tmp_path, folder, train="train").targets


def test_broken_symbolic_link_is_reported(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({"a": 1, "b": 1, "c": 1})
    (folder / "test" / "b" / "1.png").symlink_to("nowhere.png")
    with pytest.raises(InputError, match=r"b/1\.png: a broken symbolic link"):
        read(write_spec, tmp_path, folder)
