"""The images of a test set with their labels, checked against the description before anything is computed."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from PIL.Image import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from cloob.common.errors import InputError, io_errors_at
from cloob.evaluate.testsets.class_folders import labels_of_folders
from cloob.evaluate.testsets.content_hash import Content, content_of
from cloob.evaluate.testsets.leftovers import is_leftover, may_hide_images, odd_names, some
from cloob.evaluate.testsets.spec import Description, class_folders
from cloob.images.decoding import ImageError, decode_rgb

_NO_IMAGES = (".csv", ".txt", ".json", ".xml", ".html", ".md", ".ini", ".db")


class LabeledFolder(ImageFolder):
    """The images of a split of a test set (test, train, validation) as (image, label).

    A class folder without images keeps its label. Hidden files and what desktops, notebooks and archives
    leave behind (`leftovers`) are neither classes nor images. Raises `InputError` where the folder is not
    what the description expects: names of class folders (`labels_of_folders`), numbers of classes and images.
    """

    def __init__(self, description: Description, folder: Path, split: str = "test") -> None:
        self.description, self.split = description, split
        self.class_names = description.class_names(folder)
        inside = description.folder_of(split)
        if inside is None:
            raise InputError(f"{description.path}: {description.title} has no {split} split; key {split!r}")
        self._test_folder = folder / description.test
        if split != "test" and self._test_folder.resolve() == (folder / inside).resolve():
            raise InputError(
                f"{folder / inside}: the same folder as the test images; name that of the {split} images"
            )
        super().__init__(str(folder / inside), loader=load_image, allow_empty=True)
        self._check_contents()

    @property
    def names(self) -> list[str]:
        """The path of each image, relative to the split's folder."""
        return [path[len(self.root) + 1 :] for path, _ in self.samples]

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """The hook of torchvision: the folders, and the label of each."""
        described, directory = self.description, Path(directory)
        found = class_folders(directory, described.path)
        count, wanted = len(self.class_names), described.expected.classes
        if wanted is not None and count != wanted:
            raise InputError(
                f"{described.path}: {count} class names where {wanted} are expected; mend `classes`"
            )
        tests = found if self.split == "test" else class_folders(self._test_folder, described.path)
        return found, labels_of_folders(directory, found, described, self.class_names, tests)

    def make_dataset(  # type: ignore[override]  # torchvision's is static
        self, directory: str | Path, class_to_idx: dict[str, int], *_: Any, **__: Any
    ) -> list[tuple[str, int]]:
        """The hook of torchvision, which of itself leaves out other suffixes and enters every folder."""
        is_counted = self.description.expected.images_of(self.split) is not None
        samples = []
        for name in sorted(class_to_idx):
            try:
                entries = sorted(os.scandir(Path(directory, name)), key=lambda each: each.name)
            except OSError as error:
                raise InputError(f"{error.filename}: not readable ({error.strerror})") from None
            for entry in entries:
                suffix = Path(entry.name.lower()).suffix
                if is_leftover(entry.name):
                    # Where images are counted, one that is missing is found below.
                    if is_counted or not may_hide_images(entry.name, entry.is_dir()):
                        continue
                elif entry.is_file() and suffix in IMG_EXTENSIONS:
                    samples.append((entry.path, class_to_idx[name]))
                    continue
                elif entry.is_file() and suffix in _NO_IMAGES:
                    continue
                elif entry.is_symlink() and not Path(entry.path).exists():
                    raise InputError(f"{entry.path}: a link to nothing; unpack the test set again")
                raise InputError(
                    f"{entry.path}: no image of a known suffix ({', '.join(IMG_EXTENSIONS)}); images lie in "
                    "the class folder itself: convert or rename it, or move it out of there"
                )
        return samples

    def _check_contents(self) -> None:
        expected, where = self.description.expected, f"expected by {self.description.path}"
        if not self.samples:
            raise InputError(f"{self.root}: no images in the class folders; unpack the test set here")
        wanted = expected.images_of(self.split)
        if wanted is not None and len(self.samples) != wanted:
            kind, key = {
                "test": ("images", "images"),
                "train": ("training images", "train_images"),
                "validation": ("validation images", "validation_images"),
            }[self.split]
            raise InputError(
                f"{self.root}: {len(self.samples)} {kind} where {wanted} are {where}{self._suspects()}; "
                f"unpack the test set again, or set `expected: {key}` to null if yours is another selection"
            )
        if self.split != "test":
            return
        filled = Counter(self.targets)
        empty = {label for label in range(len(self.class_names)) if not filled[label]}
        if expected.empty is not None and empty != set(expected.empty):
            raise InputError(
                f"{self.root}: the classes without images are {sorted(empty)} where {sorted(expected.empty)} "
                f"are {where} (from 0); a missing folder shifts all later labels: unpack the set again"
            )

    def _suspects(self) -> str:
        """What may explain another number of images: files in the wrong place, odd names, odd classes."""
        with os.scandir(self.root) as entries:
            loose = sorted(each.name for each in entries if each.name.lower().endswith(IMG_EXTENSIONS))
        left_out = [
            f"{name}/{entry.name}"
            for name in self.classes
            for entry in sorted(Path(self.root, name).iterdir())
            if is_leftover(entry.name)
        ]
        sizes = Counter(self.targets)
        usual = Counter(sizes.values()).most_common(1)[0]
        label_of = {label: name for name, label in self.class_to_idx.items()}
        other = [f"{label_of[label]} ({size})" for label, size in sorted(sizes.items()) if size != usual[0]]
        parts = {
            "images in no class folder": loose,
            "not taken as images": left_out,
            "names of another form": odd_names(self.names),
            f"class folders without {usual[0]} images": other if 2 * usual[1] > len(sizes) else [],
        }
        named = [f"{what}: {some(names)}" for what, names in parts.items() if names]
        return f" ({'; '.join(named)})" if named else ""

    def content_sha256(self, memory: Path) -> str:
        """A hash of the relative paths and bytes of all images; `memory` see `content_of`."""
        return self.content(memory).sha256

    def content(self, memory: Path) -> Content:
        """Hashes of the relative paths and bytes of all images, and of each; `memory` see `content_of`."""
        return content_of([Path(path) for path, _ in self.samples], self.names, memory)


def load_image(path: str | Path) -> Image:
    """Decode an image file to upright RGB. Raises `InputError` where it cannot be read or decoded."""
    try:
        with io_errors_at(path):
            content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: not a readable image ({error}); unpack the test set again") from None
    return decode(content, str(path))


def decode(content: bytes, name: str) -> Image:
    """Decode an image to upright RGB (`cloob.images.decoding`); raises `InputError` naming `name`."""
    try:
        return decode_rgb(content)
    except ImageError as error:
        if error.reason == "too_many_pixels":
            raise InputError(f"{name}: {error}; replace the file") from None
        raise InputError(f"{name}: not a readable image ({error}); unpack the test set again") from None
