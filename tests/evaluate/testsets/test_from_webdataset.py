"""Test sets in CLIP_benchmark's webdataset layout: conversion, and comparison with the spec."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from cloob.common.errors import InputError
from cloob.evaluate.testsets.from_webdataset import convert_webdataset
from cloob.evaluate.testsets.spec import TestSetSpec, load_spec
from cloob.evaluate.testsets.spec_changes import changed_spec
from tests.helpers.webdataset_folders import (
    NAMES,
    TEMPLATES,
    image,
    labeled,
    write_classification,
    write_split,
)

CLASSES = ["red", "green", "blue"]
PROMPTS = ["a photo of a {} square.", "a {} thing."]
THEIRS = [prompt.replace("{}", "{c}") for prompt in PROMPTS]


def spec(tmp_path: Path, **changes: object) -> TestSetSpec:
    content = {
        "name": "colors",
        "title": "Colors",
        "test": "test",
        "train": "train",
        "labels": "folder_order",
    }
    content |= {"classes": CLASSES, "prompts": PROMPTS, "metric": "accuracy", **changes}
    (tmp_path / "colors.yaml").write_text(yaml.safe_dump(content))
    return load_spec(tmp_path / "colors.yaml")


def convert(
    tmp_path: Path, splits: Sequence[str] = ("test",), from_folder: bool = False, **changes: object
) -> TestSetSpec:
    return convert_webdataset(
        spec(tmp_path, **changes), tmp_path / "wds", tmp_path / "out", splits, webdataset_prompts=from_folder
    )


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_labels_become_class_folders_in_the_order_of_the_spec(tmp_path: Path, capsys) -> None:
    write_classification(tmp_path / "wds", CLASSES, THEIRS, test=[2, 0, 0], train=[1])
    result = convert(tmp_path, ["test", "train"], validation="validation")
    assert files(tmp_path / "out") == [
        "test/0/00000_0000001.png",
        "test/0/00001_0000002.png",
        "test/2/00000_0000000.png",
        "train/1/00000_0000000.png",
    ]
    assert (tmp_path / "out/test/1").is_dir()
    assert (tmp_path / "out/test/2/00000_0000000.png").read_bytes() == image(0)
    assert (result.classes, result.prompts, result.validation) == (CLASSES, PROMPTS, None)
    assert changed_spec(spec(tmp_path, validation="validation"), tmp_path / "out") == result
    out = capsys.readouterr().out
    assert "the 3 class names of" in out and "the 2 prompts of" in out


@pytest.mark.parametrize(
    ("changes", "folders"),
    [
        ({"folders": ["n3", "n1", "n2"]}, ["n3", "n1"]),
        ({"labels": "folder_number"}, ["0", "1"]),
        ({"classes": {"file": "classnames.txt"}}, ["0", "1"]),
        ({"classes": "folder_names", "folders": CLASSES}, ["red", "green"]),
    ],
)
def test_every_kind_of_spec_gets_the_folders_that_it_requires(
    tmp_path: Path, changes: dict, folders: list[str]
) -> None:
    write_classification(tmp_path / "wds", CLASSES, THEIRS, test=[0, 1])
    result = convert(tmp_path, **changes)
    assert [name.split("/")[1] for name in files(tmp_path / "out")] == sorted(folders)
    labels = {folder: index for index, folder in enumerate(folders)}
    for folder, index in labels.items():
        assert (tmp_path / f"out/test/{folder}/00000_{index:07d}.png").read_bytes() == image(index)
    assert result.class_names(tmp_path / "out") == CLASSES


def test_differences_are_reported_and_those_of_the_folder_are_used_on_request(tmp_path: Path, capsys) -> None:
    write_classification(
        tmp_path / "wds", ["red", "emerald", "blue"], [*THEIRS[:1], "a {c} color."], test=[0]
    )
    assert convert(tmp_path).classes == CLASSES
    out = capsys.readouterr().out
    assert "1 of 3 names differ" in out and "1: 'emerald', spec: 'green'" in out
    assert "1 only here ('a {} color.'), 1 only in the spec ('a {} thing.')" in out
    (tmp_path / "out").rename(tmp_path / "ours")
    result = convert(tmp_path, from_folder=True)
    assert result.class_names(tmp_path / "out") == ["red", "emerald", "blue"]
    assert result.prompt_templates() == [PROMPTS[0], "a {} color."]
    capsys.readouterr()
    assert changed_spec(spec(tmp_path), tmp_path / "out").prompts == result.prompts
    line = f"spec_changes.json: its class names and prompts replace those of {tmp_path}/colors.yaml\n"
    assert capsys.readouterr().out.endswith(line)


def test_another_order_of_the_labels_is_rejected(tmp_path: Path) -> None:
    write_classification(tmp_path / "wds", ["red", "Blue", "green"], THEIRS, test=[0])
    with pytest.raises(
        InputError,
        match=r"classnames.txt: line 2: 'Blue' is label 1 here and label 2 in .*colors.yaml \(2 of 3 classes",
    ):
        convert(tmp_path)


def test_homonym_of_a_class_that_is_in_place_is_a_difference(tmp_path: Path, capsys) -> None:
    write_classification(tmp_path / "wds", ["Blue", "green", "blue"], THEIRS, test=[0])
    convert(tmp_path)
    assert "1 of 3 names differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("3", "0.tar: sample 's0000000' has the label b'3', not a number from 0 to 2; correct its .cls"),
        ("-1", "has the label b'-1'"),
        ("red", "has the label b'red'"),
        ("", "has the label b''"),
    ],
)
def test_label_that_is_no_class_is_reported(tmp_path: Path, label: str, message: str) -> None:
    write_classification(tmp_path / "wds", CLASSES, THEIRS)
    write_split(tmp_path / "wds" / "test", [labeled(0, label)])
    with pytest.raises(InputError, match=message):
        convert(tmp_path)


def test_folder_of_another_set_is_rejected(tmp_path: Path) -> None:
    root = write_classification(tmp_path / "wds", [*CLASSES, "gray"], THEIRS, test=[0])
    with pytest.raises(InputError, match=r"classnames.txt: 4 class names where .*colors.yaml has 3"):
        convert(tmp_path)
    for kind, remedy in {"retrieval": "evaluate.retrieval_sets", "multilabel": "one label per image"}.items():
        (root / "dataset_type.txt").write_text(kind)
        with pytest.raises(InputError, match=f"{kind!r} is not a classification set; .*{remedy}"):
            convert(tmp_path)


def test_folder_without_names_is_read_but_has_none_to_use(tmp_path: Path, capsys) -> None:
    root = write_classification(tmp_path / "wds", CLASSES, THEIRS, test=[0])
    (root / NAMES).unlink()
    (root / TEMPLATES).unlink()
    assert convert(tmp_path).classes == CLASSES
    assert "no classnames.txt, so the order of the labels is not checked" in capsys.readouterr().out
    (tmp_path / "out").rename(tmp_path / "ours")
    with pytest.raises(InputError, match=r"lacks .*, which `prompts: webdataset` requires"):
        convert(tmp_path, from_folder=True)
    with pytest.raises(InputError, match="'classes' is folder_names, but webdataset tars have no folders"):
        convert(tmp_path, classes="folder_names")


@pytest.mark.parametrize(
    "content",
    [
        '{"classes": "a"}',
        '{"classes": [" "]}',
        '{"folders": ["a"]}',
        "[]",
        "{",
        '{"prompts": []}',
        '{"prompts": ["a photo"]}',
        '{"prompts": ["{} {}"]}',
        '{"prompts": ["{0}"]}',
        r'{"prompts": ["a\n{}"]}',
    ],
)
def test_damaged_changes_of_a_spec_are_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "spec_changes.json").write_text(content)
    with pytest.raises(InputError, match=r"spec_changes.json: not"):
        changed_spec(spec(tmp_path), tmp_path)
