"""Which class folder has which label, checked against everything that the description says of the names."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cloob.common.errors import InputError
from cloob.evaluate.testsets.leftovers import is_leftover, may_hide_images, odd_names, some
from cloob.evaluate.testsets.spec import Description, subfolders


def labels_of_folders(
    directory: Path,
    found: Sequence[str],
    description: Description,
    class_names: Sequence[str],
    test_folders: Sequence[str],
) -> dict[str, int]:
    """The label of each of the folders `found` (sorted) of a split. Raises `InputError`, with the difference.

    Where the description lists the names (`folders`), or the names are the labels (`labels: folder_number`),
    each class is found by its name. Else the order of the folders is that of the classes; then all that can
    be known is checked: their number, gaps in numbers, names that are those of the classes, and that the
    training images have the folders of the test images.
    """
    if description.folders is not None:
        return _by_name(directory, found, description)
    if description.labels == "folder_number":
        return _by_number(directory, found, description, len(class_names))
    _check_order(directory, found, description, class_names)
    if strange := set(map(_key, found)) ^ set(map(_key, test_folders)):
        raise InputError(
            f"{directory}: the class folders are not those of the test images (as {min(strange)}): "
            "the labels would not mean the same classes; unpack the test set again"
        )
    return {name: label for label, name in enumerate(found)}


def _by_name(directory: Path, found: Sequence[str], description: Description) -> dict[str, int]:
    wanted = description.folders or ()
    _check_distinct(directory, found)
    labels = {_key(name): label for label, name in enumerate(wanted)}
    missing = [name for name in wanted if _key(name) not in set(map(_key, found))]
    unexpected = [name for name in found if _key(name) not in labels]
    if missing or unexpected:
        raise InputError(
            f"{directory}: {_difference(found, wanted, missing, unexpected)} of {description.path} "
            f"(`folders`){_lower_down(directory, found, wanted)}{_left_out(directory)}; unpack the test set "
            "again, or rename the folders: an empty class needs its (empty) folder"
        )
    return {name: labels[_key(name)] for name in found}


def _difference(
    found: Sequence[str], wanted: Sequence[str], missing: Sequence[str], unexpected: Sequence[str]
) -> str:
    parts = []
    pairs = zip(sorted(found), sorted(wanted), strict=False)
    first = next((pair for pair in pairs if _key(pair[0]) != _key(pair[1])), None)
    if first:
        parts.append(f"the first folder that differs is {first[0]!r} where {first[1]!r} is expected")
    if missing:
        parts.append(f"{len(missing)} missing ({some(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({some(unexpected)})")
    return f"the class folders are not the {len(wanted)}: {'; '.join(parts)}; they are those"


def _lower_down(directory: Path, found: Sequence[str], wanted: Sequence[str]) -> str:
    for name in found[:10]:
        inside: set[str] = set()
        with suppress(OSError):  # this is but a hint
            inside = set(subfolders(directory / name))
        if len(inside & set(wanted)) * 2 > len(wanted):
            return f"; they lie further down, in {directory / name}: name its parent as the set's folder"
    return ""


def _left_out(directory: Path) -> str:
    """The folders that by their names are hidden or unfinished, where one of them may be a class."""
    with os.scandir(directory) as entries:
        names = sorted(each.name for each in entries if is_leftover(each.name) and each.is_dir())
    hidden = [name for name in names if may_hide_images(name, is_folder=True)]
    return f"; not taken as classes: {some(hidden)}" if hidden else ""


def _by_number(directory: Path, found: Sequence[str], description: Description, count: int) -> dict[str, int]:
    for name in found:
        if not _is_number(name) or int(name) >= count:
            wrong = [each for each in found if not _is_number(each) or int(each) >= count]
            raise InputError(
                f"{directory / name}: not a class number from 0 to {count - 1}, which `labels: "
                f"folder_number` in {description.path} asks for ({len(wrong)} such of "
                f"{len(found)} folders: {some(wrong)}); remove the folder, number from 0, "
                "or mend the description"
            )
    _check_distinct(directory, found)
    may_miss = set(description.expected.empty or ())
    missing = sorted(set(range(count)) - set(map(int, found)) - may_miss)
    if missing:
        raise InputError(
            f"{directory}: {len(missing)} of the {count} class folders are missing "
            f"({some(map(str, missing))}){_left_out(directory)}; unpack the test set again: an "
            "empty class needs its (empty) folder"
        )
    return {name: int(name) for name in found}


def _check_distinct(directory: Path, found: Sequence[str]) -> None:
    numbers = [int(name) for name in found if _is_number(name)]
    if len(set(numbers)) != len(numbers):
        twice = [name for name in found if _is_number(name) and numbers.count(int(name)) > 1]
        raise InputError(f"{directory}: two folders have the same class number ({some(twice)}); remove one")


def _check_order(
    directory: Path, found: Sequence[str], description: Description, class_names: Sequence[str]
) -> None:
    count = len(class_names)
    if len(found) != count:
        odd = odd_names(found)
        raise InputError(
            f"{directory}: {len(found)} class folders where {description.path} names {count} classes"
            "; an empty class needs its (empty) folder and nothing else may lie here "
            f"({f'of another form than most: {some(odd)}' if odd else f'found: {some(found)}'})"
            f"{_left_out(directory)}"
        )
    numbers = [int(name) for name in found if _is_number(name)]
    in_numbers = sorted(found, key=lambda name: [int(each) for each in re.findall(r"[0-9]+", name)])
    if (
        len(numbers) < len(found)
        and len({re.sub(r"[0-9]+", "9", name) for name in found}) == 1
        and in_numbers != list(found)
    ):
        wrong = next(pair for pair in zip(found, in_numbers, strict=True) if pair[0] != pair[1])
        raise InputError(
            f"{directory}: the numbers in the names of the folders sort wrongly as text ({wrong[0]!r} before "
            f"{wrong[1]!r}); pad them with zeros, or list the names in {description.path} (`folders`)"
        )
    if len(numbers) == len(found):
        if numbers != sorted(numbers):
            raise InputError(
                f"{directory}: the folders are numbers that sort wrongly as text ('10' before '2'); "
                f"set `labels: folder_number` in {description.path}, or pad them with zeros"
            )
        if numbers != list(range(numbers[0], numbers[0] + count)) or numbers[0] > 1:
            gap = next((n for n, each in enumerate(numbers, min(numbers[0], 1)) if n != each), numbers[0])
            raise InputError(
                f"{directory}: the folders are {count} numbers, but not from 0 or 1 on without a gap (first "
                f"missing: {gap}): a class is missing and another is too many; unpack the test set again, or "
                f"list the names of the folders in {description.path} (`folders`)"
            )
    elif 2 * len(numbers) > len(found):
        strange = [name for name in found if not _is_number(name)]
        raise InputError(
            f"{directory}: most folders are numbers, but not {some(strange)}; remove what is no class, "
            f"or list the names of the folders in {description.path} (`folders`)"
        )
    _check_names_of_classes(directory, found, description, class_names)


def _check_names_of_classes(
    directory: Path, found: Sequence[str], description: Description, class_names: Sequence[str]
) -> None:
    """Folders that are called as classes have to come in the order of the classes."""
    named: dict[str, set[int]] = defaultdict(set)
    for label, name in enumerate(class_names):
        for key in _as_words(name):
            named[key].add(label)
    wrong = []
    for label, folder in enumerate(found):
        unnumbered = re.sub(r"^\d+[\s._-]+", "", folder)
        meant = set().union(*(named.get(key, set()) for key in _as_words(folder) | _as_words(unnumbered)))
        if meant and label not in meant:
            wrong.append((folder, label, min(meant)))
    if wrong:
        folder, label, meant_label = wrong[0]
        raise InputError(
            f"{directory}: the order of the folders is not that of the classes in {description.path}: "
            f"{len(wrong)} folders have the name of another class, first {folder!r}, which would be class "
            f"{label} ({class_names[label]!r}) and has the name of class {meant_label}; list the names of "
            "the folders in the order of the classes there (`folders`)"
        )


def _as_words(name: str) -> set[str]:
    """A name without case and punctuation, as it is and with its words sorted."""
    words = [word for word in re.split(r"[\W_]+", unicodedata.normalize("NFC", name).lower()) if word]
    return {"".join(words), "".join(sorted(words))} - {""}


def _key(name: str) -> str:
    """What two names of one class have in common: of numbers the zeros in front do not count.

    Accented letters are one character or two, depending on the system that unpacked them.
    """
    return str(int(name)) if _is_number(name) else unicodedata.normalize("NFC", name)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 18
