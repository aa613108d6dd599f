"""Test-set specs: those of config/datasets follow CLIP's protocol, and mistakes are reported."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from timm.data import ImageNetInfo
from torchvision.datasets import Country211, Flowers102

from cloob.common.errors import InputError
from cloob.evaluate.testsets.prepare import distribution
from cloob.evaluate.testsets.spec import load_spec, split_at_capitals
from tests.helpers.repository import ROOT

SPECS = ROOT / "config" / "datasets"
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
def test_specs_have_the_prompts_and_classes_of_clip(name: str) -> None:
    spec = load_spec(SPECS / f"{name}.yaml")
    prompts, classes, images = PROTOCOL[name]
    assert spec.name == name
    assert len(set(spec.prompt_templates())) == prompts
    assert all(prompt.count("{}") == 1 for prompt in spec.prompt_templates())
    assert (spec.expected.classes, spec.expected.images) == (classes, images)
    if name != "ucf101":  # whose class names are its folders
        assert len(spec.class_names(SPECS)) == classes


@pytest.mark.parametrize("name", PROTOCOL)
def test_specs_list_their_distributions(name: str) -> None:
    spec = load_spec(SPECS / f"{name}.yaml")
    assert spec.source["page"].startswith("http")
    names = [key for key in ("processed", "official") if key in spec.source]
    assert bool(names) == (name != "imagenet")  # its license forbids automatic downloads
    for key in names:
        files = distribution(spec, key).files
        if key == "processed":
            assert distribution(spec, key).layout == "class_folders"
        # The official files of two test sets are unavailable, or cannot be unpacked.
        assert bool(files) == ((name, key) not in {("ucf101", "official"), ("stanford_cars", "official")})
        assert all(source.max_bytes <= 15_000_000_000 for source, _ in files)


def test_checksums_equal_torchvisions() -> None:
    known = {md5 for _, md5 in Flowers102._file_dict.values()} | {Country211._MD5}
    for name, expected in (("flowers102", 3), ("country211", 1)):
        files = distribution(load_spec(SPECS / f"{name}.yaml"), "official").files
        assert [source.checksum.removeprefix("md5:") in known for source, _ in files] == [True] * expected


def test_variants_of_imagenetv2_differ_only_in_their_folder() -> None:
    variants = [name for name in PROTOCOL if name.startswith("imagenetv2")]
    specs = [load_spec(SPECS / f"{name}.yaml") for name in variants]
    assert [spec.test for spec in specs] == [
        f"imagenetv2-{variant}-format-val" for variant in ("matched-frequency", "threshold0.7", "top-images")
    ]
    assert (
        len({str((spec.labels, spec.classes, spec.prompts, spec.metric, spec.expected)) for spec in specs})
        == 1
    )


def test_every_spec_is_covered_by_the_protocol_test() -> None:
    assert {path.stem for path in SPECS.glob("*.yaml")} == set(PROTOCOL)


@pytest.mark.parametrize("name", ["birdsnap", "country211", "flowers102", "gtsrb", "stanford_cars"])
def test_class_names_are_distinct(name: str) -> None:
    names = load_spec(SPECS / f"{name}.yaml").class_names(SPECS)
    assert len(set(names)) == len(names)


def test_birdsnap_has_nine_empty_classes() -> None:
    spec = load_spec(SPECS / "birdsnap.yaml")
    assert spec.expected.empty == (46, 66, 123, 299, 302, 351, 403, 436, 465)
    assert spec.class_names(SPECS)[:2] == ["Coopers Hawk", "Northern Goshawk"]


def test_imagenet_folders_are_the_wordnet_ids_of_its_classes() -> None:
    folders, info = load_spec(SPECS / "imagenet.yaml").folders, ImageNetInfo()
    assert list(folders) == info.label_names() == sorted(folders)
    names = load_spec(SPECS / "imagenet.yaml").class_names(SPECS)
    descriptions = [info.index_to_description(label) for label in range(1000)]
    # CLIP's names differ in wording, but not in order.
    words = [set(re.findall(r"\w+", text.lower())) for text in descriptions]
    similar = sum(
        bool(set(re.findall(r"\w+", name.lower())) & expected)
        for name, expected in zip(names, words, strict=True)
    )
    assert similar > 950


def test_country211_folders_are_country_codes_in_the_order_of_the_classes() -> None:
    spec = load_spec(SPECS / "country211.yaml")
    code_of = dict(zip(spec.class_names(SPECS), spec.folders, strict=True))
    assert list(spec.folders) == sorted(spec.folders)
    known = {
        "Norway": "NO",
        "Germany": "DE",
        "Kosovo": "XK",
        "Zimbabwe": "ZW",
        "Svalbard and Jan Mayen Islands": "SJ",
    }
    assert {name: code_of[name] for name in known} == known


def test_ucf101_class_names_are_derived_from_its_folders() -> None:
    spec = load_spec(SPECS / "ucf101.yaml")
    assert list(spec.folders) == sorted(spec.folders)
    assert spec.class_names(SPECS)[0] == "Apply Eye Makeup"  # without existing folders


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
def test_specs_have_the_numbers_of_training_images(
    name: str, train: int | None, validation: int | None
) -> None:
    expected = load_spec(SPECS / f"{name}.yaml").expected
    assert (expected.images_of("train"), expected.images_of("validation")) == (train, validation)


def test_ucf101_prompts_are_all_combinations() -> None:
    prompts = load_spec(SPECS / "ucf101.yaml").prompt_templates()
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
def test_class_names_are_split_at_capitals(folder: str, name: str) -> None:
    assert split_at_capitals(folder) == name


def test_class_names_are_derived_from_the_folders(
    write_spec: Callable, tmp_path: Path, make_testset: Callable
) -> None:
    folder = make_testset({"YoYo": 1, "ApplyLipstick": 1})
    spec = load_spec(write_spec(tmp_path / "d.yaml", classes="folder_names"))
    assert spec.class_names(folder) == ["Apply Lipstick", "Yo Yo"]


def test_class_names_are_read_from_a_file(write_spec: Callable, tmp_path: Path) -> None:
    spec = load_spec(write_spec(tmp_path / "d.yaml", classes={"file": "names.txt"}))
    with pytest.raises(InputError, match=r"names\.txt: .*one class name per line"):
        spec.class_names(tmp_path)
    with pytest.raises(InputError, match=r"names\.txt: .*one class name per line"):
        (tmp_path / "a folder" / "names.txt").mkdir(parents=True)
        spec.class_names(tmp_path / "a folder")
    for bom, end in (("", "\n"), ("\ufeff", "\r\n"), ("", "\r")):
        content = f"{bom}Cooper's Hawk{end}Northern Goshawk{end}"
        (tmp_path / "names.txt").write_bytes(content.encode())
        assert spec.class_names(tmp_path) == ["Cooper's Hawk", "Northern Goshawk"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\n\nb\n", "line 2 is empty"), ("a\nb\na\n", "lines 1 and 3 are both 'a'")],
)
def test_file_of_class_names_must_have_distinct_nonempty_lines(
    write_spec: Callable, tmp_path: Path, content: str, message: str
) -> None:
    spec = load_spec(write_spec(tmp_path / "d.yaml", classes={"file": "names.txt"}))
    (tmp_path / "names.txt").write_text(content)
    with pytest.raises(InputError, match=f"names.txt: {message}"):
        spec.class_names(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "folder_order"}, "unknown key 'label'; did you mean 'labels'"),
        ({"labels": "alphabet"}, "'labels' is 'alphabet'; give one of folder_order, folder_number"),
        ({"name": "Stanford Cars"}, "'name' is 'Stanford Cars'; give lowercase letters"),
        ({"classes": ["one", 2]}, "'classes' is .*quote"),
        ({"classes": []}, "'classes'"),
        ({"prompts": ["a photo."]}, "'prompts' is .*exactly one {}"),
        ({"prompts": ["a {} and a {}."]}, "'prompts'"),
        ({"metric": "f1"}, "'metric' is 'f1'"),
        ({"expected": {"image": 3}}, "unknown key 'expected.image'; did you mean 'images'"),
        ({"expected": {"images": True}}, "'expected.images' is True; give the number"),
        ({"expected": {"empty": "none"}}, "'expected.empty' is 'none'"),
        ({"labels": "folder_number", "classes": "folder_names"}, "list the names"),
        ({"classes": ["SE", False, "DK"]}, "'classes' is a list whose entry 2 is False .*truth value"),
        ({"classes": ["a", 1.0]}, "entry 2 is 1.0 .*in quotes"),
        ({"classes": [None, "a"]}, "entry 1 is None .*it is empty"),
        ({"classes": ["a", " "]}, "entry 2 is ' '"),
        ({"classes": ["a", ["b"]]}, r"entry 2 is \['b'\]"),
        ({"classes": ["a\nb", "c"]}, "entry 1 is"),
        ({"classes": ["a", "b", "a"]}, "entries 1 and 3 are both 'a'"),
        ({"classes": {"file": ["names"]}}, r"'classes.file' is \['names'\]"),
        ({"folders": ["SE", False, "DK"]}, "'folders' is a list whose entry 2 is False"),
        ({"folders": ["a", "b"]}, "'folders' has 2 names, key 'classes' has 3"),
        ({"folders": ["a", "b", "b"]}, "'folders' is a list whose entries 2 and 3 are both 'b'"),
        ({"folders": ["a", "b/c", "d"]}, "'folders' is a list whose entry 2 is 'b/c'"),
        ({"folders": ["0", "1", "2"], "labels": "folder_number"}, "remove `folders`"),
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
        ({"expected": {"train_images": "26,640"}}, "'expected.train_images' is '26,640'"),
        ({"expected": {"empty": [1, None]}}, "'expected.empty' is a list whose entry 2 is None"),
        ({"expected": {"classes": 3, "empty": [3]}}, "'expected.empty' is .*3 classes"),
        ({"source": ["x"]}, "'source' is"),
        ({"train": []}, r"'train' is \[\]; give a folder"),
        ({"validation": {}}, r"'validation' is {}; give a folder"),
        ({"name": "x" * 200}, "'name' is 'xxx"),
    ],
)
def test_mistake_is_reported_with_its_remedy(
    write_spec: Callable, tmp_path: Path, changes: dict, message: str
) -> None:
    path = write_spec(tmp_path / "d.yaml", **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_spec(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# Each level is nine times as large as the previous one: expanded it would exhaust the memory.
BOMB = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefgh"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not YAML"),
        ("- a list", "not a mapping"),
        ("", "not a mapping"),
        ("name: birds", "'title' is missing"),
        ("1: birds", "line 1: key 1 is not read as text"),
        ("no: birds", "line 1: key no is not read as text"),
        ("name: birds\ntitle: Birds\nname: cars", "line 3: key name is given twice, first in line 1"),
        ("name: 2026-13-45", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("name: \0", "not YAML"),
        ("name: !!python/object/apply:os.system [ls]", "not YAML"),
        ("a: &a [x,x,x,x,x,x,x,x,x]\n" + BOMB + "name: *h", "more than 100,000 values"),
    ],
)
def test_file_that_is_not_a_spec_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_spec(path)


def test_missing_spec_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such test-set spec"):
        load_spec(tmp_path / "none.yaml")
