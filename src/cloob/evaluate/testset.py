"""The description of a test set: `config/datasets/<name>.yaml`, and the same form for the small world's sets.

A description says how a folder of class folders is to be read (which folder is which label), what the
classes are called, and what has to be found there. config/datasets/ explains every key where it is used.
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cloob.errors import InputError

LABELS = ("folder_order", "folder_number")
METRICS = ("accuracy", "mean_per_class_accuracy")


@dataclass(frozen=True)
class Expected:
    """What must be found in the test folder; None is unknown and not checked."""

    classes: int | None = None
    images: int | None = None
    empty: tuple[int, ...] | None = None  # labels (0-based) whose folder holds no image


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
        return [split_at_capitals(each) for each in class_folders(folder / self.test, self.path)]

    def prompt_templates(self) -> list[str]:
        """The prompts, each with one `{}` for the class's name."""
        if isinstance(self.prompts, list):
            return self.prompts
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]


def load_description(path: str | Path) -> Description:
    """Read and check a description. Raises `InputError` naming the key, what is wrong and the remedy."""
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such test-set description") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a test-set description is a mapping with the keys {', '.join(_FORMS)}")
    for key in content:
        _check_known(path, key, _FORMS)
    for key, (is_right, form) in _FORMS.items():
        if key not in content and key not in _OPTIONAL:
            raise InputError(f"{path}: key {key!r} is missing; give {form}")
        if key in content and not is_right(content[key]):
            raise InputError(f"{path}: key {key!r} is {_shown(content[key])}; give {form}")
    if content["labels"] == "folder_number" and content["classes"] == "folder_names":
        raise InputError(
            f"{path}: key 'classes' is folder_names, but the folders are numbers; list the names"
        )
    return Description(path=path, **content | {"expected": _expected(path, content.get("expected") or {})})


def class_folders(folder: Path, described_in: Path) -> list[str]:
    """The names of the class folders under `folder`, sorted as text. Raises `InputError` if none."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
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
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        message = (
            f"{path}: not a readable UTF-8 file; {described_in} wants the class names there, one per line"
        )
        raise InputError(message) from None
    return [line.strip() for line in lines if line.strip()]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_text(each) for each in value)


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def _is_classes(value: Any) -> bool:
    in_file = isinstance(value, dict) and set(value) == {"file"} and _is_text(value["file"])
    return value in ("folder_names", "imagenet") or in_file or _is_texts(value)


def _is_prompts(value: Any) -> bool:
    return value == "imagenet" or (_is_texts(value) and all(map(_is_template, value)))


def _is_template(prompt: str) -> bool:
    return "{}" in prompt and not set("{}") & set(prompt.replace("{}", "", 1))


# Each key: whether its value is right, and what it should have been.
_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (
        lambda value: isinstance(value, str) and re.fullmatch(r"[a-z0-9_]+", value) is not None,
        "small letters, digits and underscores, such as stanford_cars",
    ),
    "title": (_is_text, "the name for tables and figures, such as 'Stanford Cars'"),
    "test": (_is_text, "the folder of class folders, relative to the set's folder"),
    "train": (lambda value: value is None or _is_text(value), "a folder like `test`, or null"),
    "validation": (lambda value: value is None or _is_text(value), "a folder like `test`, or null"),
    "labels": (lambda value: value in LABELS, f"one of {', '.join(LABELS)}"),
    "classes": (
        _is_classes,
        "a list of names (quote those that YAML reads as a number or a truth value), folder_names, imagenet "
        "or {file: <one name per line>}",
    ),
    "prompts": (_is_prompts, "imagenet, or a list of texts with exactly one {} for the class's name"),
    "metric": (lambda value: value in METRICS, f"one of {', '.join(METRICS)}"),
    "expected": (
        lambda value: value is None or isinstance(value, dict),
        "a mapping of classes, images, empty",
    ),
    "source": (lambda value: value is None or isinstance(value, dict), "a mapping of texts, or nothing"),
}
_OPTIONAL = ("train", "validation", "expected", "source")
_EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "classes": (_is_count, "a number of classes, or null where unknown"),
    "images": (_is_count, "a number of test images, or null where unknown"),
    "empty": (
        lambda value: value is None or (isinstance(value, list) and all(_is_count(each) for each in value)),
        "the labels (0-based) of the classes without images, [] for none, or null where unknown",
    ),
}


def _expected(path: Path, content: dict[str, Any]) -> Expected:
    for key, value in content.items():
        _check_known(path, key, _EXPECTED, inside="expected: ")
        is_right, form = _EXPECTED[key]
        if not is_right(value):
            raise InputError(f"{path}: key 'expected: {key}' is {_shown(value)}; give {form}")
    empty = content.get("empty")
    return Expected(content.get("classes"), content.get("images"), None if empty is None else tuple(empty))


def _check_known(path: Path, key: Any, known: dict[str, Any], inside: str = "") -> None:
    if key not in known:
        near = difflib.get_close_matches(str(key), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(known)}"
        raise InputError(f"{path}: unknown key '{inside}{key}'; {hint}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
