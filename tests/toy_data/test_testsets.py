from pathlib import Path

import pytest
import yaml

from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import load_spec
from cloob.toy_data.testsets import names
from cloob.toy_data.vocabulary import places

EIGHT = ["birdsnap", "country211", "flowers102", "gtsrb", "stanford_cars", "ucf101", "imagenet", "imagenetv2"]
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


def description(world: Path, dataset: str) -> dict:
    return yaml.safe_load((world / "testsets" / f"{dataset}.yaml").read_text(encoding="utf-8"))


def test_there_are_the_papers_eight() -> None:
    assert sorted(names()) == sorted(EIGHT)


@pytest.mark.parametrize("dataset", EIGHT)
def test_a_set_holds_what_its_description_says(world: Path, dataset: str) -> None:
    described = description(world, dataset)
    assert list(described) == KEYS and described["name"] == dataset
    folder = world / "testsets" / dataset / described["test"]
    classes = sorted(path.name for path in folder.iterdir())
    counts = [len(list((folder / name).iterdir())) for name in classes]
    assert len(classes) == described["expected"]["classes"] >= 8
    assert sum(counts) == described["expected"]["images"]
    assert [position for position, count in enumerate(counts) if count == 0] == described["expected"]["empty"]
    assert all("{}" in prompt for prompt in described["prompts"])
    listed = described["classes"]
    if isinstance(listed, dict):
        listed = (folder.parent / listed["file"]).read_text(encoding="utf-8").splitlines()
    assert listed == "folder_names" or len(listed) == len(set(listed)) == len(classes)


@pytest.mark.parametrize("dataset", [name for name in EIGHT if name != "imagenetv2"])
def test_a_training_split_has_the_same_classes_and_none_empty(
    world: Path, record: dict, dataset: str
) -> None:
    described = description(world, dataset)
    folder = world / "testsets" / dataset
    train, test = folder / described["train"], folder / described["test"]
    assert sorted(path.name for path in train.iterdir()) == sorted(path.name for path in test.iterdir())
    assert all(
        len(list(path.iterdir())) == record["sizes"]["testset_train_per_class"] for path in train.iterdir()
    )


@pytest.mark.parametrize("dataset", EIGHT)
def test_the_evaluation_takes_every_split_as_its_description_says(world: Path, dataset: str) -> None:
    described = load_spec(world / "testsets" / f"{dataset}.yaml")
    for split in ("test", "train") if described.train else ("test",):
        found = LabeledFolder(described, world / "testsets" / dataset, split)
        assert len(found) == described.expected.images_of(split) > 0


def test_birdsnap_lacks_pictures_of_some_species_which_keep_their_label(world: Path) -> None:
    described = description(world, "birdsnap")
    assert described["expected"]["empty"] == [8, 13]
    assert len(described["classes"]) == 18


def test_country211_has_folders_by_code_and_names_in_their_order(world: Path) -> None:
    folder = world / "testsets" / "country211"
    codes = sorted(path.name for path in (folder / "test").iterdir())
    listed = (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert listed == [{place["code"]: place["names"][0] for place in places()}[code] for code in codes]


def test_ucf101_is_labelled_by_the_names_of_its_folders(world: Path) -> None:
    described = description(world, "ucf101")
    assert described["classes"] == "folder_names"
    assert (world / "testsets/ucf101/test/PlayingGuitar").is_dir()


def test_cars_folders_are_in_the_order_of_their_names(world: Path) -> None:
    folders = sorted(path.name for path in (world / "testsets/stanford_cars/test").iterdir())
    assert folders == description(world, "stanford_cars")["classes"]


def test_imagenetv2_has_imagenets_classes_under_their_numbers_and_nothing_to_train_on(world: Path) -> None:
    first, second = description(world, "imagenet"), description(world, "imagenetv2")
    assert second["classes"] == first["classes"] and second["train"] is None
    assert second["labels"] == "folder_number" and first["labels"] == "folder_order"
    folder = world / "testsets/imagenetv2/imagenetv2-matched-frequency-format-val"
    assert {path.name for path in folder.iterdir()} == {
        str(number) for number in range(len(first["classes"]))
    }
    wnids = [path.name for path in (world / "testsets/imagenet/val").iterdir()]
    assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in wnids)


def test_mean_per_class_accuracy_is_asked_of_flowers_alone(world: Path) -> None:
    asked = {dataset: description(world, dataset)["metric"] for dataset in EIGHT}
    assert [dataset for dataset, metric in asked.items() if metric != "accuracy"] == ["flowers102"]
