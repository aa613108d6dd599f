"""The keys of a test-set description: what may stand in each, and what is wrong with what does."""

import re
import reprlib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

LABELS = ("folder_order", "folder_number")
METRICS = ("accuracy", "mean_per_class_accuracy")

# What is wrong with a value, as the rest of "key 'x' ..."; None where it is right.
Check = Callable[[Any], str | None]


def shown(value: Any) -> str:
    """A value in short, however large it is."""
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is(right: bool, value: Any) -> str | None:
    return None if right else f"is {shown(value)}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable() and len(value) <= 1000


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(value: Any) -> str | None:
    return _is(_is_text(value), value)


def _folder(value: Any) -> str | None:
    return _is(_is_text(value) and not PurePosixPath(value).is_absolute(), value)


def _count(value: Any) -> str | None:
    return _is(value is None or _is_count(value), value)


def _texts(value: Any) -> str | None:
    """A list of texts, none of them twice."""
    if not isinstance(value, list) or not value:
        return f"is {shown(value)}"
    first: dict[str, int] = {}
    for number, entry in enumerate(value, start=1):
        if not _is_text(entry):
            return f"is a list whose entry {number} is {shown(entry)}{_read_as(entry)}"
        if entry in first:
            return f"is a list whose entries {first[entry]} and {number} are both {shown(entry)}"
        first[entry] = number
    return None


def _read_as(entry: Any) -> str:
    kind = {
        bool: "a truth value (no, off, yes, on, y, n)",
        int: "a number",
        float: "a number",
        type(None): "nothing",
    }.get(type(entry))
    return f", which YAML reads as {kind} unless it stands in quotes" if kind else ""


def _classes(value: Any) -> str | None:
    if value in ("folder_names", "imagenet"):
        return None
    if isinstance(value, dict):
        return _is(set(value) == {"file"} and _folder(value["file"]) is None, value)
    return _texts(value)


def _folders(value: Any) -> str | None:
    if value is None:
        return None
    if wrong := _texts(value):
        return wrong
    strange = [name for name in value if "/" in name or name in (".", "..")]
    return f"is a list with {shown(strange[0])}, which is no name of a folder" if strange else None


def _prompts(value: Any) -> str | None:
    if value == "imagenet":
        return None
    if wrong := _texts(value):
        return wrong
    for number, prompt in enumerate(value, start=1):
        if "{}" not in prompt or set("{}") & set(prompt.replace("{}", "", 1)):
            return f"is a list whose entry {number} is {shown(prompt)}"
    return None


def _empty(value: Any) -> str | None:
    right = value is None or (isinstance(value, list) and all(map(_is_count, value)))
    return _is(right and len(set(value or ())) == len(value or ()), value)


def _source(value: Any) -> str | None:
    return _is(
        value is None or (isinstance(value, dict) and all(isinstance(key, str) for key in value)), value
    )


# Each key: what is wrong with its value, and what it should have been.
KEYS: dict[str, tuple[Check, str]] = {
    "name": (
        lambda value: _is(isinstance(value, str) and bool(re.fullmatch(r"[a-z0-9_]{1,100}", value)), value),
        "small letters, digits and underscores, such as stanford_cars",
    ),
    "title": (_text, "the name for tables and figures, such as 'Stanford Cars'"),
    "test": (_folder, "the folder of class folders, relative to the set's folder"),
    "train": (lambda value: value is not None and _folder(value), "a folder like `test`, or null"),
    "validation": (lambda value: value is not None and _folder(value), "a folder like `test`, or null"),
    "labels": (lambda value: _is(value in LABELS, value), f"one of {', '.join(LABELS)}"),
    "folders": (
        _folders,
        "the names of the class folders in the order of the classes, or null where unknown",
    ),
    "classes": (
        _classes,
        "a list of different names (quote those that YAML reads as a number or a truth value), folder_names, "
        "imagenet or {file: <one name per line>}",
    ),
    "prompts": (_prompts, "imagenet, or a list of different texts with exactly one {} for the class's name"),
    "metric": (lambda value: _is(value in METRICS, value), f"one of {', '.join(METRICS)}"),
    "expected": (
        lambda value: _is(value is None or isinstance(value, dict), value),
        "a mapping of classes, images, empty, train_images, validation_images",
    ),
    "source": (_source, "a mapping of texts, or nothing"),
}
OPTIONAL = ("train", "validation", "folders", "expected", "source")
EXPECTED: dict[str, tuple[Check, str]] = {
    "classes": (_count, "a number of classes, or null where unknown"),
    "images": (_count, "a number of test images, or null where unknown"),
    "empty": (
        _empty,
        "the labels (0-based) of the classes without test images, [] for none, or null where unknown",
    ),
    "train_images": (_count, "a number of training images, or null where unknown"),
    "validation_images": (_count, "a number of validation images, or null where unknown"),
}
