"""The toy test sets have the folder layouts of the real ones and match their specs."""

from pathlib import Path

import pytest
import yaml

from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import load_spec
from cloob.toy_data.testsets import list_testsets
from cloob.toy_data.vocabulary import places

TESTSETS = [
    "birdsnap",
    "country211",
    "flowers102",
    "gtsrb",
    "stanford_cars",
    "ucf101",
    "imagenet",
    "imagenetv2",
]
KEYS = [
    "name",
    "title",
    "test",
    "train",
    "labels",
    "classes",
    "prompts",
    "metric",
    "expected",
    "source",
]


def spec_of(toy_dataset: Path, dataset: str) -> dict:
    return yaml.safe_load((toy_dataset / "testsets" / f"{dataset}.yaml").read_text(encoding="utf-8"))


def test_the_toy_dataset_has_the_eight_test_sets_of_the_paper() -> None:
    assert sorted(list_testsets()) == sorted(TESTSETS)


@pytest.mark.parametrize("dataset", TESTSETS)
def test_files_match_the_spec(toy_dataset: Path, dataset: str) -> None:
    spec = spec_of(toy_dataset, dataset)
    assert list(spec) == KEYS and spec["name"] == dataset
    folder = toy_dataset / "testsets" / dataset / spec["test"]
    classes = sorted(path.name for path in folder.iterdir())
    counts = [len(list((folder / name).iterdir())) for name in classes]
    assert len(classes) == spec["expected"]["classes"] >= 8
    assert sum(counts) == spec["expected"]["images"]
    assert [position for position, count in enumerate(counts) if count == 0] == spec["expected"]["empty"]
    assert all("{}" in prompt for prompt in spec["prompts"])
    listed = spec["classes"]
    if isinstance(listed, dict):
        listed = (folder.parent / listed["file"]).read_text(encoding="utf-8").splitlines()
    assert listed == "folder_names" or len(listed) == len(set(listed)) == len(classes)


@pytest.mark.parametrize("dataset", [name for name in TESTSETS if name != "imagenetv2"])
def test_training_splits_have_the_same_classes_and_none_is_empty(
    toy_dataset: Path, metadata: dict, dataset: str
) -> None:
    spec = spec_of(toy_dataset, dataset)
    folder = toy_dataset / "testsets" / dataset
    train, test = folder / spec["train"], folder / spec["test"]
    assert sorted(path.name for path in train.iterdir()) == sorted(path.name for path in test.iterdir())
    assert all(
        len(list(path.iterdir())) == metadata["sizes"]["testset_train_per_class"] for path in train.iterdir()
    )


@pytest.mark.parametrize("dataset", TESTSETS)
def test_the_evaluation_reads_every_split(toy_dataset: Path, dataset: str) -> None:
    spec = load_spec(toy_dataset / "testsets" / f"{dataset}.yaml")
    for split in ("test", "train") if spec.train else ("test",):
        folder = LabeledFolder(spec, toy_dataset / "testsets" / dataset, split)
        assert len(folder) == spec.expected.images_of(split) > 0


def test_birdsnap_has_labels_without_test_images(toy_dataset: Path) -> None:
    spec = spec_of(toy_dataset, "birdsnap")
    assert spec["expected"]["empty"] == [8, 13]
    assert len(spec["classes"]) == 18


def test_country211_has_folders_named_by_code_and_class_names_in_their_order(toy_dataset: Path) -> None:
    folder = toy_dataset / "testsets" / "country211"
    codes = sorted(path.name for path in (folder / "test").iterdir())
    listed = (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert listed == [{place["code"]: place["names"][0] for place in places()}[code] for code in codes]


def test_ucf101_class_names_are_folder_names(toy_dataset: Path) -> None:
    spec = spec_of(toy_dataset, "ucf101")
    assert spec["classes"] == "folder_names"
    assert (toy_dataset / "testsets/ucf101/test/PlayingGuitar").is_dir()


def test_stanford_cars_folders_are_sorted_by_class_name(toy_dataset: Path) -> None:
    folders = sorted(path.name for path in (toy_dataset / "testsets/stanford_cars/test").iterdir())
    assert folders == spec_of(toy_dataset, "stanford_cars")["classes"]


def test_imagenetv2_has_the_classes_of_imagenet_by_number_and_no_training_split(toy_dataset: Path) -> None:
    first, second = spec_of(toy_dataset, "imagenet"), spec_of(toy_dataset, "imagenetv2")
    assert second["classes"] == first["classes"] and second["train"] is None
    assert second["labels"] == "folder_number" and first["labels"] == "folder_order"
    folder = toy_dataset / "testsets/imagenetv2/imagenetv2-matched-frequency-format-val"
    assert {path.name for path in folder.iterdir()} == {
        str(number) for number in range(len(first["classes"]))
    }
    wnids = [path.name for path in (toy_dataset / "testsets/imagenet/val").iterdir()]
    assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in wnids)


def test_only_flowers102_uses_mean_per_class_accuracy(toy_dataset: Path) -> None:
    metrics = {dataset: spec_of(toy_dataset, dataset)["metric"] for dataset in TESTSETS}
    assert [dataset for dataset, metric in metrics.items() if metric != "accuracy"] == ["flowers102"]
