"""Eight test sets in the folder layouts of the real ones, each with its description."""

import random
from dataclasses import dataclass
from typing import Any

from cloob.toy_data.render import ImageFile
from cloob.toy_data.scene import Scene, random_scene
from cloob.toy_data.vocabulary import listed, places, species

# The only set whose pictures are of another style than the world's, and which has nothing to train on.
_SHIFTED = "imagenetv2"
_TEST_FOLDERS = {"imagenet": "val", _SHIFTED: "imagenetv2-matched-frequency-format-val"}
_CLASSES_FILE = "classes.txt"


@dataclass(frozen=True)
class TestSet:
    """A set: class folders (empty ones included) and images, relative to its own folder; its description."""

    folders: list[str]
    images: list[ImageFile]
    classes_file: str | None
    description: dict[str, Any]

    __test__ = False  # not a test of pytest's


def names() -> list[str]:
    """The eight sets, as the paper's tables list them."""
    return list(listed("testsets"))


def test_set(seed: int, dataset: str, train_per_class: int, test_per_class: int) -> TestSet:
    """The set `dataset` with so many images per class in either split."""
    spec = listed("testsets")[dataset]
    classes = _classes(spec["kind"])
    folders = [_folder(spec, position, entry) for position, entry in enumerate(classes)]
    splits = {_TEST_FOLDERS.get(dataset, "test"): test_per_class}
    if dataset != _SHIFTED:
        splits["train"] = train_per_class
    test, *train = splits
    images, empty = [], []
    for split, per_class in splits.items():
        rng = random.Random(f"{seed}/{dataset}/{split}")
        for position, (folder, entry) in enumerate(zip(folders, classes, strict=True)):
            if entry["missing"] and split == test:
                empty.append(position)
                continue
            for number in range(per_class):
                scene = _scene(spec, position, rng, shifted=dataset == _SHIFTED)
                images.append(
                    ImageFile(f"{split}/{folder}/{number:04d}.jpg", scene, spec.get("form", "photo"))
                )
    described = {
        "name": dataset,
        "title": spec["title"],
        "test": test,
        "train": train[0] if train else None,
        "labels": "folder_number" if spec["folders"] == "number" else "folder_order",
        "classes": _described_classes(spec, classes),
        "prompts": spec["prompts"],
        "metric": spec["metric"],
        "expected": {
            "classes": len(classes),
            "images": (len(classes) - len(empty)) * test_per_class,
            "empty": empty,
            "train_images": len(classes) * train_per_class if train else None,
        },
        "source": {"archive": f"drawn by `cloob toy-data generate`, seed {seed}", "licence": "MIT"},
    }
    return TestSet(
        folders=[f"{split}/{folder}" for split in splits for folder in folders],
        images=images,
        classes_file="".join(f"{entry['name']}\n" for entry in classes) if spec["kind"] == "place" else None,
        description=described,
    )


test_set.__test__ = False  # type: ignore[attr-defined]  # not a test of pytest's


def _classes(kind: str) -> list[dict[str, Any]]:
    if kind == "place":
        return [{"name": place["names"][0], "code": place["code"], "missing": False} for place in places()]
    return [
        {"name": one.names[0], "own": one.drawing.get("folder"), "missing": one.drawing.get("missing", False)}
        for one in species(kind)
    ]


def _folder(spec: dict[str, Any], position: int, entry: dict[str, Any]) -> str:
    return {
        "index": f"{position:03d}",
        "name": entry["name"],
        "code": entry.get("code"),
        "own": entry.get("own"),
        # Increasing numbers of WordNet's form, so that the order of the folders is the order of the labels.
        "wnid": f"n{1443537 + 38011 * position:08d}",
        "number": str(position),
    }[spec["folders"]]


def _described_classes(spec: dict[str, Any], classes: list[dict[str, Any]]) -> Any:
    """The sets use all forms that a description knows for its class names."""
    if spec["folders"] == "own":
        return "folder_names"
    return {"file": _CLASSES_FILE} if spec["kind"] == "place" else [entry["name"] for entry in classes]


def _scene(spec: dict[str, Any], position: int, rng: random.Random, shifted: bool) -> Scene:
    if spec["kind"] == "place":
        if rng.random() < 0.5:
            return random_scene(rng, kind="none", place=position)
        return random_scene(rng, place=position, size="far", count=1)
    return random_scene(rng, kind=spec["kind"], position=position, shifted=shifted)
