"""Assign labels to class folders, and check the folder names against the spec."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cloob.common.errors import InputError
from cloob.evaluate.testsets.leftovers import abbreviated, is_leftover, may_hide_images, unusual_names
from cloob.evaluate.testsets.spec import TestSetSpec, subfolders


def labels_of_folders(
    directory: Path,
    folders: Sequence[str],
    spec: TestSetSpec,
    class_names: Sequence[str],
    test_folders: Sequence[str],
) -> dict[str, int]:
    """The label of each class folder of a split. Raises `InputError` with the differences.

    `folders` are the names of the existing class folders in `directory`, sorted. If the spec lists the names
    (`folders`) or the names are the labels (`labels: folder_number`), each class is identified by its name.
    Otherwise the order of the folders is the order of the classes. Then all possible checks are made: the
    number of folders, gaps in numbered folders, folders that have the name of another class, and that the
    training images have the same folders as the test images.
    """
    if spec.folders is not None:
        return _by_name(directory, folders, spec)
    if spec.labels == "folder_number":
        return _by_number(directory, folders, spec, len(class_names))
    _check_order(directory, folders, spec, class_names)
    if differing := set(map(_key, folders)) ^ set(map(_key, test_folders)):
        raise InputError(
            f"{directory}: the class folders differ from those of the test images (such as "
            f"{min(differing)}), so the labels would refer to different classes; unpack the test set again"
        )
    return {name: label for label, name in enumerate(folders)}


def _by_name(directory: Path, folders: Sequence[str], spec: TestSetSpec) -> dict[str, int]:
    expected = spec.folders or ()
    _check_distinct(directory, folders)
    labels = {_key(name): label for label, name in enumerate(expected)}
    existing = set(map(_key, folders))
    missing = [name for name in expected if _key(name) not in existing]
    unexpected = [name for name in folders if _key(name) not in labels]
    if missing or unexpected:
        raise InputError(
            f"{directory}: {_difference(folders, expected, missing, unexpected)}, which {spec.path} lists "
            f"(`folders`){_nested_hint(directory, folders, expected)}{_ignored(directory)}; unpack the test "
            "set again, or rename the folders: an empty class needs its (empty) folder"
        )
    return {name: labels[_key(name)] for name in folders}


def _difference(
    folders: Sequence[str], expected: Sequence[str], missing: Sequence[str], unexpected: Sequence[str]
) -> str:
    parts = []
    pairs = zip(sorted(folders), sorted(expected), strict=False)
    first = next((pair for pair in pairs if _key(pair[0]) != _key(pair[1])), None)
    if first:
        parts.append(f"the first difference is {first[0]!r} instead of {first[1]!r}")
    if missing:
        parts.append(f"{len(missing)} missing ({abbreviated(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({abbreviated(unexpected)})")
    return f"{', '.join(parts)}: the class folders are not the {len(expected)}"


def _nested_hint(directory: Path, folders: Sequence[str], expected: Sequence[str]) -> str:
    for name in folders[:10]:
        nested: set[str] = set()
        with suppress(OSError):  # only a hint
            nested = set(subfolders(directory / name))
        if len(nested & set(expected)) * 2 > len(expected):
            return f"; they are one level deeper, in {directory / name}: give its parent as the set's folder"
    return ""


def _ignored(directory: Path) -> str:
    """Hint at folders that are ignored as hidden or incomplete, where one of them may be a class."""
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if is_leftover(entry.name) and entry.is_dir())
    hidden = [name for name in names if may_hide_images(name, is_folder=True)]
    return f"; ignored as leftovers: {abbreviated(hidden)}" if hidden else ""


def _by_number(directory: Path, folders: Sequence[str], spec: TestSetSpec, count: int) -> dict[str, int]:
    invalid = [name for name in folders if not _is_number(name) or int(name) >= count]
    if invalid:
        raise InputError(
            f"{directory / invalid[0]}: not a class number from 0 to {count - 1}, which `labels: "
            f"folder_number` in {spec.path} requires ({len(invalid)} of {len(folders)} folders are invalid: "
            f"{abbreviated(invalid)}); remove the folder, number from 0, or correct the spec"
        )
    _check_distinct(directory, folders)
    empty_classes = set(spec.expected.empty or ())
    missing = sorted(set(range(count)) - set(map(int, folders)) - empty_classes)
    if missing:
        raise InputError(
            f"{directory}: {len(missing)} of the {count} class folders are missing "
            f"({abbreviated(map(str, missing))}){_ignored(directory)}; unpack the test set again: an "
            "empty class needs its (empty) folder"
        )
    return {name: int(name) for name in folders}


def _check_distinct(directory: Path, folders: Sequence[str]) -> None:
    numbers = [int(name) for name in folders if _is_number(name)]
    if len(set(numbers)) != len(numbers):
        duplicates = [name for name in folders if _is_number(name) and numbers.count(int(name)) > 1]
        raise InputError(
            f"{directory}: two folders have the same class number ({abbreviated(duplicates)}); remove one"
        )


def _check_order(
    directory: Path, folders: Sequence[str], spec: TestSetSpec, class_names: Sequence[str]
) -> None:
    """Raise `InputError` if the order of the folder names as text cannot be the order of the classes."""
    count = len(class_names)
    if len(folders) != count:
        unusual = unusual_names(folders)
        detail = f"unusual names: {abbreviated(unusual)}" if unusual else f"found: {abbreviated(folders)}"
        raise InputError(
            f"{directory}: {len(folders)} class folders where {spec.path} names {count} classes; an empty "
            f"class needs its (empty) folder, and no other folders are allowed here ({detail})"
            f"{_ignored(directory)}"
        )
    numbers = [int(name) for name in folders if _is_number(name)]
    if len(numbers) == count:
        _check_numbers(directory, numbers, spec)
    else:
        _check_numbered_names(directory, folders, spec)
        if 2 * len(numbers) > count:
            others = [name for name in folders if not _is_number(name)]
            raise InputError(
                f"{directory}: most folders are numbers, but not {abbreviated(others)}; remove folders that "
                f"are not classes, or list the names of the folders in {spec.path} (`folders`)"
            )
    _check_class_names(directory, folders, spec, class_names)


def _check_numbered_names(directory: Path, folders: Sequence[str], spec: TestSetSpec) -> None:
    """Names that differ in their numbers alone must have the same order as text and by number."""
    numeric_order = sorted(folders, key=lambda name: [int(digits) for digits in re.findall(r"[0-9]+", name)])
    if len({re.sub(r"[0-9]+", "9", name) for name in folders}) != 1 or numeric_order == list(folders):
        return
    text, numeric = next(pair for pair in zip(folders, numeric_order, strict=True) if pair[0] != pair[1])
    raise InputError(
        f"{directory}: the numbers in the folder names sort wrongly as text ({text!r} before {numeric!r}); "
        f"pad them with zeros, or list the names in {spec.path} (`folders`)"
    )


def _check_numbers(directory: Path, numbers: Sequence[int], spec: TestSetSpec) -> None:
    """Folders that are all numbers must be consecutive from 0 or 1, in the same order as text."""
    if numbers != sorted(numbers):
        raise InputError(
            f"{directory}: the folders are numbers that sort wrongly as text ('10' before '2'); "
            f"set `labels: folder_number` in {spec.path}, or pad them with zeros"
        )
    first, count = numbers[0], len(numbers)
    if numbers != list(range(first, first + count)) or first > 1:
        gap = next((index for index, number in enumerate(numbers, min(first, 1)) if index != number), first)
        raise InputError(
            f"{directory}: the folders are {count} numbers, but not consecutive from 0 or 1 (first "
            f"missing: {gap}), so that one class is missing and one is superfluous; unpack the test set "
            f"again, or list the names of the folders in {spec.path} (`folders`)"
        )


def _check_class_names(
    directory: Path, folders: Sequence[str], spec: TestSetSpec, class_names: Sequence[str]
) -> None:
    """Raise `InputError` if a folder has the name of a class other than the one of its position."""
    misplaced = names_of_other_classes(folders, class_names, numbered=True)
    if misplaced:
        folder, label, named_label = misplaced[0]
        raise InputError(
            f"{directory}: the order of the folders differs from that of the classes in {spec.path}: "
            f"{len(misplaced)} folders have the name of another class, first {folder!r}, which would be "
            f"class {label} ({class_names[label]!r}) and has the name of class {named_label}; list the "
            "names of the folders in the order of the classes there (`folders`)"
        )


def names_of_other_classes(
    names: Sequence[str], class_names: Sequence[str], numbered: bool = False
) -> list[tuple[str, int, int]]:
    """The names that are those of another class than the one at their position: (name, position, its label).

    Case, punctuation and the order of words are ignored; with `numbered`, also a number before a name.
    """
    labels_of_name: dict[str, set[int]] = defaultdict(set)
    for label, class_name in enumerate(class_names):
        for key in _word_keys(class_name):
            labels_of_name[key].add(label)
    misplaced = []
    for label, name in enumerate(names):
        keys = _word_keys(name)
        if numbered:
            keys |= _word_keys(re.sub(r"^\d+[\s._-]+", "", name))
        named = set().union(*(labels_of_name.get(key, set()) for key in keys))
        if named and label not in named:
            misplaced.append((name, label, min(named)))
    return misplaced


def have_same_words(name: str, other: str) -> bool:
    """Whether two names are equal without case, punctuation and the order of words."""
    return bool(_word_keys(name) & _word_keys(other))


def _word_keys(name: str) -> set[str]:
    """A name without case and punctuation: with its words in their order, and sorted."""
    words = [word for word in re.split(r"[\W_]+", unicodedata.normalize("NFC", name).lower()) if word]
    return {"".join(words), "".join(sorted(words))} - {""}


def _key(name: str) -> str:
    """A key that is equal for all spellings of one class: numbers without leading zeros, Unicode NFC.

    (Accented letters are one character or two, depending on the system that unpacked them.)
    """
    return str(int(name)) if _is_number(name) else unicodedata.normalize("NFC", name)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 18
