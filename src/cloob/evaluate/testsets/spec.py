"""The description of a test set: `config/datasets/<name>.yaml`, and the same form for the small world's sets.

A description says how a folder of class folders is to be read (which folder is which label), what the
classes are called, and what has to be found there. config/datasets/ explains every key where it is used.
"""

import difflib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError, io_errors_at
from cloob.common.yaml_file import read_yaml
from cloob.evaluate.testsets.leftovers import is_leftover
from cloob.evaluate.testsets.spec_keys import EXPECTED, KEYS, OPTIONAL, shown

SPLITS = ("test", "train", "validation")


@dataclass(frozen=True)
class Expected:
    """What must be found in the set's folders; None is unknown and not checked."""

    classes: int | None = None
    images: int | None = None  # of the test split
    empty: tuple[int, ...] | None = None  # labels (0-based) whose test folder holds no image
    train_images: int | None = None
    validation_images: int | None = None

    def images_of(self, split: str) -> int | None:
        """The number of images of a split (test, train, validation)."""
        return {"test": self.images, "train": self.train_images, "validation": self.validation_images}[split]


@dataclass(frozen=True)
class Description:
    """One test set, as described; paths are relative to the folder that the config gives for the set."""

    path: Path  # of the description itself, for messages
    name: str
    title: str
    test: str
    labels: str
    classes: str | list[str] | dict[str, str]
    prompts: str | list[str]
    metric: str
    train: str | None = None
    validation: str | None = None
    folders: tuple[str, ...] | None = None  # names of the class folders, in the order of the labels
    expected: Expected = field(default_factory=Expected)
    source: dict[str, Any] = field(default_factory=dict)

    def class_names(self, folder: Path) -> list[str]:
        """The names of all classes, in the order of the labels. Raises `InputError`."""
        if isinstance(self.classes, list):
            return self.classes
        if isinstance(self.classes, dict):
            return _names_in_file(folder / self.classes["file"], self.path)
        if self.classes == "imagenet":
            from open_clip import IMAGENET_CLASSNAMES

            return list(IMAGENET_CLASSNAMES)
        folders = self.folders or class_folders(folder / self.test, self.path)
        return [split_at_capitals(each) for each in folders]

    def folder_of(self, split: str) -> str | None:
        """The folder of a split (test, train, validation), None where the set has no such split."""
        return {"test": self.test, "train": self.train, "validation": self.validation}[split]

    def prompt_templates(self) -> list[str]:
        """The prompts, each with one `{}` for the class's name."""
        if isinstance(self.prompts, list):
            return self.prompts
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]


def load_description(path: str | Path) -> Description:
    """Read and check a description. Raises `InputError` naming the key, what is wrong and the remedy."""
    path = Path(path)
    content = read_yaml(path, "test-set description")
    if not isinstance(content, dict):
        raise InputError(f"{path}: a test-set description is a mapping with the keys {', '.join(KEYS)}")
    for key in content:
        _check_known(path, key, KEYS)
    for key, (check, form) in KEYS.items():
        if key not in content and key not in OPTIONAL:
            raise InputError(f"{path}: key {key!r} is missing; give {form}")
        if key in content and (wrong := check(content[key])):
            raise InputError(f"{path}: key {key!r} {wrong}; give {form}")
    expected = _expected(path, content.get("expected") or {})
    _check_together(path, content, expected)
    folders = content.get("folders")
    return Description(
        path=path,
        **content
        | {
            "folders": None if folders is None else tuple(folders),
            "expected": expected,
            "source": content.get("source") or {},
        },
    )


def subfolders(folder: Path) -> list[str]:
    """The folders in `folder`, sorted as text, without hidden ones and leftovers (`is_leftover`)."""
    return sorted(each.name for each in folder.iterdir() if not is_leftover(each.name) and each.is_dir())


def class_folders(folder: Path, described_in: Path) -> list[str]:
    """The names of the class folders under `folder`, sorted as text. Raises `InputError` if none."""
    try:
        names = subfolders(folder)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    if not names:
        raise InputError(f"{folder}: no class folders here; {described_in} wants one folder per class")
    return names


def split_at_capitals(name: str) -> str:
    """`ApplyEyeMakeup` -> `Apply Eye Makeup`: the class names of UCF101 (CLIP's protocol)."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)


def _names_in_file(path: Path, described_in: Path) -> list[str]:
    try:
        with io_errors_at(path):
            lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, UnicodeDecodeError):
        message = (
            f"{path}: not a readable UTF-8 file; {described_in} wants the class names there, one per line"
        )
        raise InputError(message) from None
    names = [line.strip() for line in lines]
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise InputError(f"{path}: line {number} is empty; give one class name per line")
        if first.setdefault(name, number) != number:
            raise InputError(f"{path}: lines {first[name]} and {number} are both {name!r}; no name twice")
    return names


def _expected(path: Path, content: dict[str, Any]) -> Expected:
    for key, value in content.items():
        _check_known(path, key, EXPECTED, inside="expected: ")
        check, form = EXPECTED[key]
        if wrong := check(value):
            raise InputError(f"{path}: key 'expected: {key}' {wrong}; give {form}")
    empty = content.get("empty")
    return Expected(**content | {"empty": None if empty is None else tuple(sorted(empty))})


def _check_known(path: Path, key: Any, known: dict[str, Any], inside: str = "") -> None:
    if key not in known:
        near = difflib.get_close_matches(str(key), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(known)}"
        raise InputError(
            f"{path}: unknown key '{inside}{shown(key) if not isinstance(key, str) else key}'; {hint}"
        )


def _check_together(path: Path, content: dict[str, Any], expected: Expected) -> None:
    """What is wrong though each key by itself is right."""
    if content["labels"] == "folder_number" and content["classes"] == "folder_names":
        raise InputError(
            f"{path}: key 'classes' is folder_names, but the folders are numbers; list the names"
        )
    folders, classes = content.get("folders"), content["classes"]
    if folders and content["labels"] == "folder_number":
        raise InputError(
            f"{path}: key 'labels' is folder_number, so the folders are known; leave out `folders`"
        )
    if folders and isinstance(classes, list) and len(folders) != len(classes):
        raise InputError(
            f"{path}: key 'folders' has {len(folders)} names, key 'classes' has {len(classes)}; give each "
            "class its folder"
        )
    if expected.classes is not None and any(label >= expected.classes for label in expected.empty or ()):
        raise InputError(
            f"{path}: key 'expected: empty' is {list(expected.empty or ())}, but there are "
            f"{expected.classes} classes; give labels from 0"
        )
    splits: dict[str, str] = {}
    for split in SPLITS:
        if content.get(split) and (inside := os.path.normpath(content[split])):
            if inside in splits:
                raise InputError(
                    f"{path}: keys {splits[inside]!r} and {split!r} are both {content[split]!r}: the same "
                    "images would be learned from and tested on; give each split its own folder"
                )
            splits[inside] = split
