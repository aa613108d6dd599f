"""Descriptions of test sets: the shipped ones are CLIP's protocol, and a mistake in one's own is named."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from timm.data import ImageNetInfo
from torchvision.datasets import Country211, Flowers102

from cloob.common.errors import InputError
from cloob.evaluate.testsets.prepare import handout
from cloob.evaluate.testsets.spec import load_spec, split_at_capitals
from tests.helpers.repository import ROOT

SHIPPED = ROOT / "config" / "datasets"
# CLIP's protocol: prompts, classes and test images of every set (None: not known for the authors' archive).
PROTOCOL = {
    "birdsnap": (1, 500, 1855),
    "country211": (5, 211, 21100),
    "flowers102": (1, 102, 6149),
    "gtsrb": (3, 43, 12630),
    "imagenet": (80, 1000, 50000),
    "imagenetv2": (80, 1000, 10000),
    "imagenetv2_threshold": (80, 1000, 10000),
    "imagenetv2_top_images": (80, 1000, 10000),
    "stanford_cars": (8, 196, 8041),
    "ucf101": (48, 101, None),
}


@pytest.mark.parametrize("name", PROTOCOL)
def test_shipped_descriptions_have_clips_prompts_and_classes(name: str) -> None:
    description = load_spec(SHIPPED / f"{name}.yaml")
    prompts, classes, images = PROTOCOL[name]
    assert description.name == name
    assert len(set(description.prompt_templates())) == prompts
    assert all(prompt.count("{}") == 1 for prompt in description.prompt_templates())
    assert (description.expected.classes, description.expected.images) == (classes, images)
    if name != "ucf101":  # whose names are those of its folders
        assert len(description.class_names(SHIPPED)) == classes


@pytest.mark.parametrize("name", PROTOCOL)
def test_shipped_descriptions_say_where_the_set_is_from(name: str) -> None:
    description = load_spec(SHIPPED / f"{name}.yaml")
    assert description.source["page"].startswith("http")
    forms = [form for form in ("processed", "official") if form in description.source]
    assert bool(forms) == (name != "imagenet")  # its licence forbids fetching it
    for form in forms:
        read = handout(description, form)
        if form == "processed":
            assert read.layout == "class_folders"
        # The official files of two sets are not to be had, or cannot be unpacked.
        assert bool(read.files) == (
            (name, form) not in {("ucf101", "official"), ("stanford_cars", "official")}
        )
        assert all(source.max_bytes <= 15_000_000_000 for source, _ in read.files)


def test_the_checksums_are_torchvisions() -> None:
    known = {md5 for _, md5 in Flowers102._file_dict.values()} | {Country211._MD5}
    for name, expected in (("flowers102", 3), ("country211", 1)):
        files = handout(load_spec(SHIPPED / f"{name}.yaml"), "official").files
        assert [source.checksum.removeprefix("md5:") in known for source, _ in files] == [True] * expected


def test_the_variants_of_imagenetv2_differ_in_their_folder_alone() -> None:
    variants = [name for name in PROTOCOL if name.startswith("imagenetv2")]
    read = [load_spec(SHIPPED / f"{name}.yaml") for name in variants]
    assert [each.test for each in read] == [
        f"imagenetv2-{variant}-format-val" for variant in ("matched-frequency", "threshold0.7", "top-images")
    ]
    assert (
        len({str((each.labels, each.classes, each.prompts, each.metric, each.expected)) for each in read})
        == 1
    )


def test_no_other_descriptions_are_shipped() -> None:
    assert {path.stem for path in SHIPPED.glob("*.yaml")} == set(PROTOCOL)


@pytest.mark.parametrize("name", ["birdsnap", "country211", "flowers102", "gtsrb", "stanford_cars"])
def test_no_class_is_named_twice(name: str) -> None:
    names = load_spec(SHIPPED / f"{name}.yaml").class_names(SHIPPED)
    assert len(set(names)) == len(names)


def test_birdsnap_keeps_its_nine_empty_classes() -> None:
    description = load_spec(SHIPPED / "birdsnap.yaml")
    assert description.expected.empty == (46, 66, 123, 299, 302, 351, 403, 436, 465)
    assert description.class_names(SHIPPED)[:2] == ["Coopers Hawk", "Northern Goshawk"]


def test_imagenets_folders_are_the_wordnet_ids_of_its_classes() -> None:
    folders, info = load_spec(SHIPPED / "imagenet.yaml").folders, ImageNetInfo()
    assert list(folders) == info.label_names() == sorted(folders)
    names = load_spec(SHIPPED / "imagenet.yaml").class_names(SHIPPED)
    meant = [info.index_to_description(label) for label in range(1000)]
    # Word by word CLIP's names are others in places, but at the same label.
    words = [set(re.findall(r"\w+", text.lower())) for text in meant]
    alike = sum(
        bool(set(re.findall(r"\w+", name.lower())) & of) for name, of in zip(names, words, strict=True)
    )
    assert alike > 950


def test_country211s_folders_are_country_codes_in_the_order_of_their_names() -> None:
    description = load_spec(SHIPPED / "country211.yaml")
    code_of = dict(zip(description.class_names(SHIPPED), description.folders, strict=True))
    assert list(description.folders) == sorted(description.folders)
    known = {
        "Norway": "NO",
        "Germany": "DE",
        "Kosovo": "XK",
        "Zimbabwe": "ZW",
        "Svalbard and Jan Mayen Islands": "SJ",
    }
    assert {name: code_of[name] for name in known} == known


def test_ucf101s_classes_are_its_folders() -> None:
    description = load_spec(SHIPPED / "ucf101.yaml")
    assert list(description.folders) == sorted(description.folders)
    assert description.class_names(SHIPPED)[0] == "Apply Eye Makeup"  # no folder is there


@pytest.mark.parametrize(
    ("name", "train", "validation"),
    [
        ("country211", 31650, 10550),
        ("flowers102", 1020, 1020),
        ("gtsrb", 26640, None),
        ("imagenet", 1281167, None),
        ("stanford_cars", 8144, None),
        ("ucf101", 9537, None),
        ("birdsnap", None, None),
    ],
)
def test_shipped_descriptions_know_the_numbers_of_training_images(
    name: str, train: int | None, validation: int | None
) -> None:
    expected = load_spec(SHIPPED / f"{name}.yaml").expected
    assert (expected.images_of("train"), expected.images_of("validation")) == (train, validation)


def test_ucf101_prompts_are_every_combination() -> None:
    prompts = load_spec(SHIPPED / "ucf101.yaml").prompt_templates()
    assert "a example of the person practicing {}." in prompts
    assert "a photo of a person {}." in prompts


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("ApplyEyeMakeup", "Apply Eye Makeup"),
        ("HandStandPushups", "Hand Stand Pushups"),
        ("TaiChi", "Tai Chi"),
        ("YoYo", "Yo Yo"),
        ("Punch", "Punch"),
    ],
)
def test_names_from_folders_are_split_at_capitals(folder: str, name: str) -> None:
    assert split_at_capitals(folder) == name


def test_class_names_from_the_folders(describe: Callable, tmp_path: Path, make_set: Callable) -> None:
    folder = make_set({"YoYo": 1, "ApplyLipstick": 1})
    description = load_spec(describe(tmp_path / "d.yaml", classes="folder_names"))
    assert description.class_names(folder) == ["Apply Lipstick", "Yo Yo"]


def test_class_names_from_a_file_of_the_set(describe: Callable, tmp_path: Path) -> None:
    description = load_spec(describe(tmp_path / "d.yaml", classes={"file": "names.txt"}))
    with pytest.raises(InputError, match=r"names\.txt: .*one per line"):
        description.class_names(tmp_path)
    with pytest.raises(InputError, match=r"names\.txt: .*one per line"):
        (tmp_path / "a folder" / "names.txt").mkdir(parents=True)
        description.class_names(tmp_path / "a folder")
    for bom, end in (("", "\n"), ("\ufeff", "\r\n"), ("", "\r")):
        content = f"{bom}Cooper's Hawk{end}Northern Goshawk{end}"
        (tmp_path / "names.txt").write_bytes(content.encode())
        assert description.class_names(tmp_path) == ["Cooper's Hawk", "Northern Goshawk"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\n\nb\n", "line 2 is empty"), ("a\nb\na\n", "lines 1 and 3 are both 'a'")],
)
def test_a_file_of_class_names_has_one_per_line(
    describe: Callable, tmp_path: Path, content: str, message: str
) -> None:
    description = load_spec(describe(tmp_path / "d.yaml", classes={"file": "names.txt"}))
    (tmp_path / "names.txt").write_text(content)
    with pytest.raises(InputError, match=f"names.txt: {message}"):
        description.class_names(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "folder_order"}, "unknown key 'label'; did you mean 'labels'"),
        ({"labels": "alphabet"}, "'labels' is 'alphabet'; give one of folder_order, folder_number"),
        ({"name": "Stanford Cars"}, "'name' is 'Stanford Cars'; give small letters"),
        ({"classes": ["one", 2]}, "'classes' is .*quote"),
        ({"classes": []}, "'classes'"),
        ({"prompts": ["a photo."]}, "'prompts' is .*exactly one {}"),
        ({"prompts": ["a {} and a {}."]}, "'prompts'"),
        ({"metric": "f1"}, "'metric' is 'f1'"),
        ({"expected": {"image": 3}}, "unknown key 'expected: image'; did you mean 'images'"),
        ({"expected": {"images": True}}, "'expected: images' is True; give a number"),
        ({"expected": {"empty": "none"}}, "'expected: empty' is 'none'"),
        ({"labels": "folder_number", "classes": "folder_names"}, "list the names"),
        ({"classes": ["SE", False, "DK"]}, "'classes' is a list whose entry 2 is False, .*truth value"),
        ({"classes": ["a", 1.0]}, "entry 2 is 1.0, which YAML reads as a number"),
        ({"classes": [None, "a"]}, "entry 1 is None, which YAML reads as nothing"),
        ({"classes": ["a", " "]}, "entry 2 is ' '"),
        ({"classes": ["a", ["b"]]}, r"entry 2 is \['b'\]"),
        ({"classes": ["a\nb", "c"]}, "entry 1 is"),
        ({"classes": ["a", "b", "a"]}, "entries 1 and 3 are both 'a'"),
        ({"classes": {"file": ["names"]}}, "'classes'"),
        ({"folders": ["SE", False, "DK"]}, "'folders' is a list whose entry 2 is False"),
        ({"folders": ["a", "b"]}, "'folders' has 2 names, key 'classes' has 3"),
        ({"folders": ["a", "b", "b"]}, "'folders' is a list whose entries 2 and 3 are both 'b'"),
        ({"folders": ["a", "b/c", "d"]}, "'folders' .*'b/c', which is no name of a folder"),
        ({"folders": ["0", "1", "2"], "labels": "folder_number"}, "leave out `folders`"),
        ({"prompts": []}, "'prompts'"),
        ({"prompts": ["a {0}."]}, "'prompts' is a list whose entry 1 is 'a .0..'"),
        ({"prompts": ["a {}.", "a {x}."]}, "entry 2 is 'a {x}.'"),
        ({"prompts": ["a {}}."]}, "entry 1 is 'a {}}.'"),
        ({"prompts": ["a {{}}."]}, "entry 1 is 'a {{}}.'"),
        ({"prompts": "a photo of a {}."}, "'prompts' is 'a photo of a {}.'"),
        ({"title": 2012}, "'title' is 2012"),
        ({"name": True}, "'name' is True"),
        ({"test": None}, "'test' is None"),
        ({"test": "/data/test"}, "'test' is '/data/test'; give the folder .* relative"),
        ({"train": "test"}, "'test' and 'train' are both 'test'"),
        ({"train": "./test/"}, "'test' and 'train' are both"),
        ({"train": "train", "validation": "train"}, "'train' and 'validation' are both 'train'"),
        ({"labels": ["folder_order"]}, "'labels' is"),
        ({"expected": [3]}, "'expected' is"),
        ({"expected": {"train_images": "26,640"}}, "'expected: train_images' is '26,640'"),
        ({"expected": {"empty": [1, None]}}, "'expected: empty' is"),
        ({"expected": {"classes": 3, "empty": [3]}}, "'expected: empty' is .*3 classes"),
        ({"source": ["x"]}, "'source' is"),
        ({"train": []}, r"'train' is \[\]; give a folder"),
        ({"validation": {}}, r"'validation' is {}; give a folder"),
        ({"name": "x" * 200}, "'name' is 'xxx"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(
    describe: Callable, tmp_path: Path, changes: dict, message: str
) -> None:
    path = describe(tmp_path / "d.yaml", **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_spec(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# Each level nine times the one before: written out in full it would fill the memory.
BOMB = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefgh"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not YAML"),
        ("- a list", "a mapping"),
        ("", "a mapping"),
        ("name: birds", "'title' is missing"),
        ("1: birds", "line 1: key 1 is not read as text"),
        ("no: birds", "line 1: key no is not read as text"),
        ("name: birds\ntitle: Birds\nname: cars", "line 3: key name is given twice, first in line 1"),
        ("name: 2026-13-45", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("name: \0", "not YAML"),
        ("name: !!python/object/apply:os.system [ls]", "not YAML"),
        ("a: &a [x,x,x,x,x,x,x,x,x]\n" + BOMB + "name: *h", "unknown key 'a'|'name' is"),
    ],
)
def test_what_is_no_description_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_spec(path)


def test_a_missing_description_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such test-set description"):
        load_spec(tmp_path / "none.yaml")
