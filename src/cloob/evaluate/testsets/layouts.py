"""The layouts in which test sets are handed out, each read into what all sets become: class folders.

The official files are read by torchvision's dataset classes; where they have a validation split it stays one
(CLIP's numbers of training images count both).
"""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from torchvision.datasets import GTSRB, Flowers102, StanfordCars

from cloob.common.errors import InputError
from cloob.common.text import read_text
from cloob.evaluate.testsets.leftovers import is_leftover, may_hide_images
from cloob.evaluate.testsets.spec import Description

Samples = Iterable[tuple[str | Path, int]]


def class_folders(description: Description, root: Path, out: Path, workers: int) -> None:
    """Class folders already, below `test` or below one folder around it."""
    around = root
    while not (around / description.test).is_dir():
        inside = [each for each in around.iterdir() if each.is_dir() and not is_leftover(each.name)]
        if len(inside) != 1:
            found = sorted(each.relative_to(root).as_posix() for each in (*root.glob("*"), *root.glob("*/*")))
            listed = ", ".join(found[:10]) or "nothing"
            raise InputError(f"{root}: no folder {description.test!r} here; found {listed}")
        around = inside[0]
    _copy(around, out)


def flowers102(description: Description, root: Path, out: Path, workers: int) -> None:
    """`flowers-102/` with the official pictures and the two .mat files."""
    for split, name in {"train": "train", "validation": "val", "test": "test"}.items():
        read = Flowers102(root, name)
        _place(zip(read._image_files, read._labels, strict=True), out / split, _numbers(description, 3))


def gtsrb(description: Description, root: Path, out: Path, workers: int) -> None:
    """`gtsrb/` with the official training pictures, test pictures and test labels."""
    _copy(root / "gtsrb" / "GTSRB" / "Training", out / "train")
    _place(GTSRB(root, "test")._samples, out / "test", _numbers(description, 5))


def country211(description: Description, root: Path, out: Path, workers: int) -> None:
    """`country211/` with folders of countries below train, valid and test."""
    for split, name in {"train": "train", "validation": "valid", "test": "test"}.items():
        _copy(root / "country211" / name, out / split)


def stanford_cars(description: Description, root: Path, out: Path, workers: int) -> None:
    """`stanford_cars/` with cars_train, cars_test, devkit and cars_test_annos_withlabels.mat."""
    for split in ("train", "test"):
        _place(StanfordCars(root, split)._samples, out / split, _numbers(description, 3))


def ucf101(description: Description, root: Path, out: Path, workers: int) -> None:
    """`UCF-101/` with the official videos, `ucfTrainTestlist/` with the lists; the first split is taken."""
    from cloob.evaluate.testsets.video import middle_frames  # FFmpeg, for this set alone

    for split in ("train", "test"):
        path = root / "ucfTrainTestlist" / f"{split}list01.txt"
        listed = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
        frames = {
            root / "UCF-101" / name: (out / split / name).with_suffix(".png") for name in sorted(set(listed))
        }
        if missing := [str(video) for video in frames if not video.is_file()]:
            raise InputError(
                f"{path}: {len(missing)} of {len(frames)} videos are missing, first {missing[0]}"
            )
        for folder in description.folders or ():  # those that stay empty too
            (out / split / folder).mkdir(parents=True, exist_ok=True)
        middle_frames(frames, workers)


LAYOUTS: dict[str, Callable[[Description, Path, Path, int], None]] = {
    layout.__name__: layout
    for layout in (class_folders, flowers102, gtsrb, country211, stanford_cars, ucf101)
}


def _numbers(description: Description, digits: int) -> list[str]:
    """A folder per class, named so that their order as text is that of the labels."""
    assert isinstance(description.classes, list)  # the descriptions of these sets list their names
    return [f"{label:0{digits}d}" for label in range(len(description.classes))]


def _copy(folder: Path, out: Path) -> None:
    """Copy class folders as they are, but for what desktops, notebooks and archives left there.

    Leftovers that may stand for missing images are copied: the check of the copy judges them.
    """
    # Links cost no space; the files of a person are not taken away.
    shutil.copytree(folder, out, ignore=_certain_leftovers, copy_function=_link)


def _certain_leftovers(folder: str, names: list[str]) -> list[str]:
    return [
        name for name in names if is_leftover(name) and not may_hide_images(name, Path(folder, name).is_dir())
    ]


def _place(samples: Samples, split: Path, folders: list[str]) -> None:
    for folder in folders:  # those that stay empty too: they keep their label
        (split / folder).mkdir(parents=True, exist_ok=True)
    for path, label in samples:
        _link(str(path), str(split / folders[int(label)] / Path(path).name))


def _link(source: str, target: str) -> None:
    if Path(target).exists():
        raise InputError(f"{source}: two images of a class have this name; they cannot be told apart")
    try:
        os.link(source, target, follow_symlinks=True)
    except OSError:  # another file system
        shutil.copyfile(source, target)
