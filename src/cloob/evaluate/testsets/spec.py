"""The spec of a test set: `config/datasets/<name>.yaml`, and the same form for the toy dataset's test sets.

A spec defines the labels of the class folders, the class names and prompts, and the expected contents of the
folders. The files in config/datasets/ explain every key; `spec.schema.yaml` is their JSON Schema.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from cloob.common.errors import InputError, io_errors_at
from cloob.common.yaml_file import read_yaml
from cloob.evaluate.testsets.leftovers import is_leftover
from cloob.evaluate.testsets.spec_schema import schema_problem

SPLITS = ("test", "train", "validation")


@dataclass(frozen=True)
class Expected:
    """The expected contents of the folders of a test set; None means unknown, and is not checked."""

    classes: int | None = None
    images: int | None = None  # of the test split
    empty: tuple[int, ...] | None = None  # labels (0-based) of the classes without test images
    train_images: int | None = None
    validation_images: int | None = None

    def images_of(self, split: str) -> int | None:
        """The number of images of a split (test, train, validation)."""
        return {"test": self.images, "train": self.train_images, "validation": self.validation_images}[split]


@dataclass(frozen=True)
class TestSetSpec:
    """One test set; its paths are relative to the folder that the config gives for the test set."""

    __test__: ClassVar[bool] = False  # not a test class for pytest

    path: Path  # of the spec itself, for messages
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
            return _read_class_names(folder / self.classes["file"], self.path)
        if self.classes == "imagenet":
            from open_clip import IMAGENET_CLASSNAMES

            return list(IMAGENET_CLASSNAMES)
        folders = self.folders or class_folders(folder / self.test, self.path)
        return [split_at_capitals(name) for name in folders]

    def folder_of(self, split: str) -> str | None:
        """The folder of a split (test, train, validation), or None if the set has no such split."""
        return {"test": self.test, "train": self.train, "validation": self.validation}[split]

    def prompt_templates(self) -> list[str]:
        """The prompt templates, each with one `{}` for the class name."""
        if isinstance(self.prompts, list):
            return self.prompts
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]


def load_spec(path: str | Path) -> TestSetSpec:
    """Read and validate a spec. Raises `InputError` with the file, the key, the problem and the remedy."""
    path = Path(path)
    content = read_yaml(path, "test-set spec")
    if problem := schema_problem(content) or _inconsistency(content):
        raise InputError(f"{path}: {problem}")
    folders, expected = content.get("folders"), content.get("expected") or {}
    empty = expected.get("empty")
    parsed = {
        "folders": None if folders is None else tuple(folders),
        "expected": Expected(**expected | {"empty": None if empty is None else tuple(sorted(empty))}),
        "source": content.get("source") or {},
    }
    return TestSetSpec(path=path, **content | parsed)


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in `folder`, sorted as text, without leftovers (`is_leftover`)."""
    return sorted(entry.name for entry in folder.iterdir() if not is_leftover(entry.name) and entry.is_dir())


def class_folders(folder: Path, spec_path: Path) -> list[str]:
    """The names of the class folders in `folder`, sorted as text. Raises `InputError` if there are none."""
    try:
        names = subfolders(folder)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    if not names:
        raise InputError(f"{folder}: no class folders; {spec_path} requires one folder per class")
    return names


def split_at_capitals(name: str) -> str:
    """`ApplyEyeMakeup` -> `Apply Eye Makeup`: the class names of UCF101 (CLIP's protocol)."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)


def _read_class_names(path: Path, spec_path: Path) -> list[str]:
    try:
        with io_errors_at(path):
            lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, UnicodeDecodeError):
        message = f"{path}: not a readable UTF-8 file; {spec_path} requires one class name per line there"
        raise InputError(message) from None
    names = [line.strip() for line in lines]
    first_line: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise InputError(f"{path}: line {number} is empty; give one class name per line")
        if first_line.setdefault(name, number) != number:
            raise InputError(
                f"{path}: lines {first_line[name]} and {number} are both {name!r}; give distinct names"
            )
    return names


def _inconsistency(content: dict[str, Any]) -> str | None:
    """The first contradiction between keys that are valid individually, with the remedy."""
    folders, classes = content.get("folders"), content["classes"]
    if content["labels"] == "folder_number" and classes == "folder_names":
        return "key 'classes' is folder_names, but the folders are numbers; list the names"
    if folders and content["labels"] == "folder_number":
        return "key 'labels' is folder_number, which determines the folders; remove `folders`"
    if folders and isinstance(classes, list) and len(folders) != len(classes):
        return (
            f"key 'folders' has {len(folders)} names, key 'classes' has {len(classes)}; give one folder per "
            "class"
        )
    expected = content.get("expected") or {}
    count, empty = expected.get("classes"), expected.get("empty") or ()
    if count is not None and any(label >= count for label in empty):
        return f"key 'expected.empty' is {list(empty)} with {count} classes; give labels from 0"
    split_of_folder: dict[str, str] = {}
    for split in SPLITS:
        if content.get(split) and (folder := os.path.normpath(content[split])):
            if folder in split_of_folder:
                return (
                    f"keys {split_of_folder[folder]!r} and {split!r} are both {content[split]!r}, so the "
                    "same images would be used for training and testing; give each split its own folder"
                )
            split_of_folder[folder] = split
    return None
