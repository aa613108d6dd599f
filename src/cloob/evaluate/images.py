"""The images of a test set with their labels, checked against the description before anything is computed."""

import os
from collections import Counter
from pathlib import Path

from PIL.Image import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from cloob.errors import InputError, naming
from cloob.evaluate.content import content_sha256
from cloob.evaluate.testset import Description, class_folders
from cloob.images import ImageError, decode_rgb

_NO_IMAGES = (".csv", ".txt", ".json", ".xml", ".html", ".md", ".ini", ".db")


class LabelledFolder(ImageFolder):
    """The images of a split of a test set (test, train, validation) as (image, label).

    A class folder without images keeps its label. Raises `InputError` where the folder is not what the
    description expects; how many images there are is known of the test split only.

    `labels: folder_order` is torchvision's own rule. `labels: folder_number` takes the folder's name as
    the label, because as text '10' sorts before '2' (ImageNetV2).
    """

    def __init__(self, description: Description, folder: Path, split: str = "test") -> None:
        self.description, self.split = description, split
        self.class_names = description.class_names(folder)
        inside = {
            "test": description.test,
            "train": description.train,
            "validation": description.validation,
        }[split]
        if inside is None:
            raise InputError(f"{description.path}: {description.title} has no {split} split; key {split!r}")
        self._test_folders = class_folders(folder / description.test, description.path)
        super().__init__(str(folder / inside), loader=load_image, allow_empty=True)
        self._check_files()
        self._check_contents()

    @property
    def names(self) -> list[str]:
        """The path of each image, relative to the split's folder."""
        return [path[len(self.root) + 1 :] for path, _ in self.samples]

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """The hook of torchvision: the folders, and the label of each."""
        described, found = self.description, class_folders(Path(directory), self.description.path)
        numbers = [int(each) if each.isascii() and each.isdigit() else None for each in found]
        count, wanted = len(self.class_names), described.expected.classes
        if wanted is not None and count != wanted:
            raise InputError(
                f"{described.path}: {count} class names where {wanted} are expected; mend `classes`"
            )
        if described.labels == "folder_order":
            if len(found) != count:
                raise InputError(
                    f"{directory}: {len(found)} class folders where {described.path} names {count} classes; "
                    "an empty class needs its (empty) folder and nothing else may lie here"
                )
            if None not in numbers and numbers != sorted(numbers):
                raise InputError(
                    f"{directory}: the folders are numbers that sort wrongly as text ('10' before '2'); "
                    f"set `labels: folder_number` in {described.path}, or pad them with zeros"
                )
            if found != self._test_folders:
                strange = min(set(found) ^ set(self._test_folders))
                raise InputError(
                    f"{directory}: the class folders are not those of the test images (as {strange}): "
                    "the labels would not mean the same classes; unpack the test set again"
                )
            return found, {name: label for label, name in enumerate(found)}
        for name, number in zip(found, numbers, strict=True):
            if number is None or number >= count:
                raise InputError(
                    f"{Path(directory) / name}: not a class number from 0 to {count - 1}, which `labels: "
                    f"folder_number` in {described.path} asks for; remove the folder or mend the description"
                )
        if len(set(numbers)) != len(numbers):
            raise InputError(f"{directory}: two folders have the same class number; remove one")
        return found, dict(zip(found, numbers, strict=True))  # type: ignore[arg-type]

    def _check_files(self) -> None:
        """Of itself torchvision leaves out what has another suffix, and counts images from further down."""
        for name in self.classes:
            with os.scandir(Path(self.root, name)) as entries:
                others = sorted(each.path for each in entries if not _is_taken(each))
            if others:
                raise InputError(
                    f"{others[0]}: no image of a known suffix ({', '.join(IMG_EXTENSIONS)}); images lie in "
                    "the class folder itself: convert or rename it, or move it out of there"
                )

    def _check_contents(self) -> None:
        expected, where = self.description.expected, f"expected by {self.description.path}"
        if not self.samples:
            raise InputError(f"{self.root}: no images in the class folders; unpack the test set here")
        if self.split != "test":
            return
        if expected.images is not None and len(self.samples) != expected.images:
            raise InputError(
                f"{self.root}: {len(self.samples)} images where {expected.images} are {where}; unpack the "
                "test set again, or set `expected: images` to null if yours is another selection"
            )
        filled = Counter(self.targets)
        empty = {label for label in range(len(self.class_names)) if not filled[label]}
        if expected.empty is not None and empty != set(expected.empty):
            raise InputError(
                f"{self.root}: the classes without images are {sorted(empty)} where {sorted(expected.empty)} "
                f"are {where} (from 0); a missing folder shifts all later labels: unpack the set again"
            )

    def content_sha256(self, memory: Path) -> str:
        """A hash of the relative paths and bytes of all images; `memory` see `content_sha256`."""
        return content_sha256([Path(path) for path, _ in self.samples], self.names, memory)


def _is_taken(entry: os.DirEntry) -> bool:
    """Whether it is an image by its suffix, or surely none: tables, what desktops leave in folders."""
    name = entry.name.lower()
    return entry.is_file() and (name.startswith(".") or name.endswith((*IMG_EXTENSIONS, *_NO_IMAGES)))


def load_image(path: str | Path) -> Image:
    """Decode an image file to upright RGB. Raises `InputError` where it cannot be read or decoded."""
    try:
        with naming(path):
            content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: not a readable image ({error}); unpack the test set again") from None
    return decode(content, str(path))


def decode(content: bytes, name: str) -> Image:
    """The bytes of an image as upright RGB (`cloob.images`); raises `InputError`, which calls it `name`."""
    try:
        return decode_rgb(content)
    except ImageError as error:
        if error.reason == "too_many_pixels":
            raise InputError(f"{name}: {error}; replace the file") from None
        raise InputError(f"{name}: not a readable image ({error}); unpack the test set again") from None
