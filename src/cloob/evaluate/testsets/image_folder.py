"""The labeled images of a test set, validated against its spec before anything is computed."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from PIL.Image import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from cloob.common.errors import InputError
from cloob.evaluate.testsets.class_folders import labels_of_folders
from cloob.evaluate.testsets.content_hash import Content, check_unchanged, content_hash
from cloob.evaluate.testsets.leftovers import abbreviated, is_leftover, may_hide_images, unusual_names
from cloob.evaluate.testsets.spec import TestSetSpec, class_folders
from cloob.images.decoding import ImageError, decode_for_model
from cloob.images.files import read_image_file

_IGNORED_SUFFIXES = (".csv", ".txt", ".json", ".xml", ".html", ".md", ".ini", ".db")


class LabeledFolder(ImageFolder):
    """The images of a split of a test set (test, train, validation) as (image, label).

    A class folder without images keeps its label. Hidden files and leftovers of desktops, notebooks and
    archivers (`leftovers`) are neither classes nor images. Raises `InputError` if the folder does not match
    the spec: names of class folders (`labels_of_folders`), numbers of classes and images.
    """

    def __init__(self, spec: TestSetSpec, folder: Path, split: str = "test") -> None:
        self.spec, self.split = spec, split
        self.class_names = spec.class_names(folder)
        split_folder = spec.folder_of(split)
        if split_folder is None:
            raise InputError(f"{spec.path}: {spec.title} has no {split} split; key {split!r}")
        self._test_folder = folder / spec.test
        if split != "test" and self._test_folder.resolve() == (folder / split_folder).resolve():
            raise InputError(
                f"{folder / split_folder}: this is the folder of the test images; give the folder of the "
                f"{split} images"
            )
        self._content: Content | None = None
        super().__init__(str(folder / split_folder), loader=load_image, allow_empty=True)
        self._check_contents()

    @property
    def names(self) -> list[str]:
        """The path of each image, relative to the split's folder: CLASS/IMAGE."""
        return ["/".join(path.rsplit("/", 2)[-2:]) for path, _ in self.samples]

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Override torchvision's hook: the class folders and their labels."""
        spec, directory = self.spec, Path(directory)
        folders = class_folders(directory, spec.path)
        count, expected = len(self.class_names), spec.expected.classes
        if expected is not None and count != expected:
            raise InputError(
                f"{spec.path}: {count} class names where {expected} are expected; correct `classes`"
            )
        test_folders = folders if self.split == "test" else class_folders(self._test_folder, spec.path)
        return folders, labels_of_folders(directory, folders, spec, self.class_names, test_folders)

    def make_dataset(  # torchvision's is static
        self, directory: str | Path, class_to_idx: dict[str, int], *_: Any, **__: Any
    ) -> list[tuple[str, int]]:
        """Override torchvision's hook, which silently skips unknown suffixes and descends into subfolders."""
        is_counted = self.spec.expected.images_of(self.split) is not None
        samples = []
        for name in sorted(class_to_idx):
            try:
                entries = sorted(os.scandir(Path(directory, name)), key=lambda entry: entry.name)
            except OSError as error:
                raise InputError(f"{error.filename}: not readable ({error.strerror})") from None
            for entry in entries:
                suffix = Path(entry.name.lower()).suffix
                if is_leftover(entry.name):
                    # If the number of images is known, a missing one is detected below.
                    if is_counted or not may_hide_images(entry.name, entry.is_dir()):
                        continue
                elif entry.is_file() and suffix in IMG_EXTENSIONS:
                    samples.append((entry.path, class_to_idx[name]))
                    continue
                elif entry.is_file() and suffix in _IGNORED_SUFFIXES:
                    continue
                elif entry.is_symlink() and not Path(entry.path).exists():
                    raise InputError(f"{entry.path}: a broken symbolic link; unpack the test set again")
                raise InputError(
                    f"{entry.path}: not an image with a known suffix ({', '.join(IMG_EXTENSIONS)}) directly "
                    "in the class folder; convert or rename it, or move it elsewhere"
                )
        return samples

    def _check_contents(self) -> None:
        expected = self.spec.expected
        if not self.samples:
            raise InputError(f"{self.root}: no images in the class folders; unpack the test set here")
        count = expected.images_of(self.split)
        if count is not None and len(self.samples) != count:
            kind, key = {
                "test": ("images", "images"),
                "train": ("training images", "train_images"),
                "validation": ("validation images", "validation_images"),
            }[self.split]
            raise InputError(
                f"{self.root}: {len(self.samples)} {kind} where {self.spec.path} expects "
                f"{count}{self._possible_causes()}; unpack the test set again, or set `expected.{key}` to "
                "null if you use a different selection"
            )
        if self.split != "test":
            return
        images_of_label: Counter[int] = Counter(self.targets)
        empty = {label for label in range(len(self.class_names)) if not images_of_label[label]}
        if expected.empty is not None and empty != set(expected.empty):
            raise InputError(
                f"{self.root}: the classes without images are {sorted(empty)} where {self.spec.path} expects "
                f"{sorted(expected.empty)} (from 0); a missing folder shifts all following labels: unpack "
                "the test set again"
            )

    def _possible_causes(self) -> str:
        """Possible causes of a wrong number of images: misplaced files, unusual names or class sizes."""
        with os.scandir(self.root) as entries:
            loose = sorted(entry.name for entry in entries if entry.name.lower().endswith(IMG_EXTENSIONS))
        ignored = [
            f"{name}/{entry.name}"
            for name in self.classes
            for entry in sorted(Path(self.root, name).iterdir())
            if is_leftover(entry.name)
        ]
        sizes: Counter[int] = Counter(self.targets)
        usual_size, frequency = Counter(sizes.values()).most_common(1)[0]
        folder_of = {label: name for name, label in self.class_to_idx.items()}
        unusual = [
            f"{folder_of[label]} ({size})" for label, size in sorted(sizes.items()) if size != usual_size
        ]
        causes = {
            "images outside of class folders": loose,
            "ignored as leftovers": ignored,
            "unusual names": unusual_names(self.names),
            f"class folders without {usual_size} images": unusual if 2 * frequency > len(sizes) else [],
        }
        listed = [f"{cause}: {abbreviated(names)}" for cause, names in causes.items() if names]
        return f" ({'; '.join(listed)})" if listed else ""

    def content_sha256(self, cache: Path) -> str:
        """A hash of the relative paths and bytes of all images; for `cache` see `content_hash`."""
        return self.content(cache).sha256

    def check_unchanged(self, cache: Path) -> None:
        """Raise `InputError` if images were changed after `content_sha256` was determined."""
        check_unchanged([path for path, _ in self.samples], self.names, cache, self.content_sha256(cache))

    def content(self, cache: Path) -> Content:
        """Hashes of the relative paths and bytes of all images, and of each image; see `content_hash`.

        They are determined once: a job needs them for every protocol, and ImageNet has a million images.
        """
        if self._content is None:
            self._content = content_hash([path for path, _ in self.samples], self.names, cache)
        return self._content


def load_image(path: str | Path) -> Image:
    """Decode an image file to upright RGB. Raises `InputError` if it does not exist or cannot be decoded."""
    try:
        content = read_image_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: not a readable image ({error}); unpack the test set again") from None
    return decode(content, str(path))


def decode(content: bytes, name: str) -> Image:
    """Decode an image to upright RGB (`cloob.images.decoding`); raises `InputError` that names `name`."""
    try:
        return decode_for_model(content)
    except ImageError as error:
        if error.reason in ("too_many_pixels", "too_elongated"):
            raise InputError(f"{name}: {error}; replace the file") from None
        raise InputError(f"{name}: not a readable image ({error}); unpack the test set again") from None
