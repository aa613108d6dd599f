"""The images of a test set with their labels, checked against the description before anything is computed."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder

from cloob.errors import InputError
from cloob.evaluate.testset import Description, class_folders

Transform = Callable[[Image.Image], Tensor]


class LabelledFolder(ImageFolder):
    """The images of a test set as (pixels, label); a class folder without images keeps its label.

    `labels: folder_order` is torchvision's own rule. `labels: folder_number` takes the folder's name as
    the label, because as text '10' sorts before '2' (ImageNetV2).
    """

    def __init__(self, description: Description, folder: Path, transform: Transform) -> None:
        self.description = description
        self.class_names = description.class_names(folder)
        super().__init__(str(folder / description.test), transform, loader=load_image, allow_empty=True)
        self._check_contents()

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

    def _check_contents(self) -> None:
        expected, where = self.description.expected, f"expected by {self.description.path}"
        if not self.samples:
            raise InputError(f"{self.root}: no images in the class folders; unpack the test set here")
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

    def content_sha256(self) -> str:
        """A hash of the relative paths and sizes of all images: cheap, and changes when the set does."""
        digest = hashlib.sha256()
        for path, _ in self.samples:
            relative = Path(path).relative_to(self.root).as_posix()
            digest.update(f"{relative}\t{Path(path).stat().st_size}\n".encode())
        return digest.hexdigest()


def load_image(path: str) -> Image.Image:
    """Decode an image file to RGB. Raises `InputError` if it is broken, or a decompression bomb."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return image.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = Image.MAX_IMAGE_PIXELS
        message = f"{path}: more than {limit} pixels, refused as a decompression bomb; replace the file"
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise on broken files
        message = f"{path}: not a readable image ({error}); unpack the test set again"
    raise InputError(message) from None


class _Reporting(Dataset):
    """Hands an `InputError` on as a value: DataLoader turns a worker's exception into a traceback."""

    def __init__(self, folder: LabelledFolder) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | InputError:
        try:
            return self.folder[index]
        except InputError as error:
            return error


def _collate(samples: list[tuple[Tensor, int] | InputError]) -> tuple[Tensor, Tensor] | InputError:
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    return torch.utils.data.default_collate(samples)


def batches(folder: LabelledFolder, batch_size: int, workers: int) -> DataLoader:
    """Batches of (pixels (N, 3, S, S), labels (N,)) in file order, or an `InputError` as a value."""
    return DataLoader(_Reporting(folder), batch_size, num_workers=workers, collate_fn=_collate)
