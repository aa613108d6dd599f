"""The layouts in which test sets are distributed, each converted to class folders.

Official files are read by torchvision's dataset classes. An official validation split remains separate
(CLIP's numbers of training images include it).
"""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from torchvision.datasets import GTSRB, Flowers102, StanfordCars

from cloob.common.errors import InputError
from cloob.common.text import read_text
from cloob.evaluate.testsets.leftovers import is_leftover, may_hide_images
from cloob.evaluate.testsets.spec import TestSetSpec

Samples = Iterable[tuple[str | Path, int]]


# The docstring of a layout describes the expected files in error messages.
def class_folders(spec: TestSetSpec, root: Path, out: Path, workers: int) -> None:
    """Class folders, below `test` or below a single folder that contains it."""
    parent = root
    while not (parent / spec.test).is_dir():
        inside = [entry for entry in parent.iterdir() if entry.is_dir() and not is_leftover(entry.name)]
        if len(inside) != 1:
            existing = (*root.glob("*"), *root.glob("*/*"))
            listed = ", ".join(sorted(path.relative_to(root).as_posix() for path in existing)[:10])
            raise InputError(f"{root}: no folder {spec.test!r} here; found {listed or 'nothing'}")
        parent = inside[0]
    _copy(parent, out)


def flowers102(spec: TestSetSpec, root: Path, out: Path, workers: int) -> None:
    """`flowers-102/` with the official images and the two .mat files."""
    for split, name in {"train": "train", "validation": "val", "test": "test"}.items():
        dataset = Flowers102(root, name)
        samples = zip(dataset._image_files, dataset._labels, strict=True)
        _place_images(samples, out / split, _numbered_folders(spec, 3))


def gtsrb(spec: TestSetSpec, root: Path, out: Path, workers: int) -> None:
    """`gtsrb/` with the official training images, test images and test labels."""
    _copy(root / "gtsrb" / "GTSRB" / "Training", out / "train")
    _place_images(GTSRB(root, "test")._samples, out / "test", _numbered_folders(spec, 5))


def country211(spec: TestSetSpec, root: Path, out: Path, workers: int) -> None:
    """`country211/` with one folder per country below train, valid and test."""
    for split, name in {"train": "train", "validation": "valid", "test": "test"}.items():
        _copy(root / "country211" / name, out / split)


def stanford_cars(spec: TestSetSpec, root: Path, out: Path, workers: int) -> None:
    """`stanford_cars/` with cars_train, cars_test, devkit and cars_test_annos_withlabels.mat."""
    for split in ("train", "test"):
        _place_images(StanfordCars(root, split)._samples, out / split, _numbered_folders(spec, 3))


def ucf101(spec: TestSetSpec, root: Path, out: Path, workers: int) -> None:
    """`UCF-101/` with the official videos, `ucfTrainTestlist/` with the lists; the first split is used."""
    from cloob.evaluate.testsets.video import extract_middle_frames  # FFmpeg, needed only here

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
        for folder in spec.folders or ():  # including folders that remain empty
            (out / split / folder).mkdir(parents=True, exist_ok=True)
        extract_middle_frames(frames, workers)


LAYOUTS: dict[str, Callable[[TestSetSpec, Path, Path, int], None]] = {
    layout.__name__: layout
    for layout in (class_folders, flowers102, gtsrb, country211, stanford_cars, ucf101)
}


def _numbered_folders(spec: TestSetSpec, digits: int) -> list[str]:
    """One folder name per class; their order as text is the order of the labels."""
    assert isinstance(spec.classes, list)  # the specs of these test sets list their class names
    return [f"{label:0{digits}d}" for label in range(len(spec.classes))]


def _copy(folder: Path, out: Path) -> None:
    """Copy class folders without the leftovers of desktops, notebooks and archivers.

    Leftovers that may stand for missing images are copied, so that the validation of the copy reports them.
    """
    # Hard links take no space, and the user's files stay in place.
    shutil.copytree(folder, out, ignore=_safe_to_skip, copy_function=_link)


def _safe_to_skip(folder: str, names: list[str]) -> list[str]:
    return [
        name for name in names if is_leftover(name) and not may_hide_images(name, Path(folder, name).is_dir())
    ]


def _place_images(samples: Samples, split: Path, folders: list[str]) -> None:
    for folder in folders:  # including folders that remain empty: they keep their label
        (split / folder).mkdir(parents=True, exist_ok=True)
    for path, label in samples:
        _link(str(path), str(split / folders[int(label)] / Path(path).name))


def _link(source: str, target: str) -> None:
    if Path(target).exists():
        raise InputError(f"{source}: two images of a class have this name; rename one of them")
    try:
        os.link(source, target, follow_symlinks=True)
    except OSError:  # another file system
        shutil.copyfile(source, target)
