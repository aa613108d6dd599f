"""A custom test set, an image folder with one subfolder per class, needs a spec but no code."""

import json
from pathlib import Path

import pytest
from PIL import Image

from cloob.cli import main

SPEC = """
name: pets
title: Pets
test: .
labels: folder_order
classes: folder_names
prompts: ["a photo of a {}, a type of pet."]
metric: accuracy
"""


@pytest.fixture
def pets(tmp_path: Path) -> tuple[Path, Path]:
    """The spec, and an image folder with one subfolder per class."""
    for index, breed in enumerate(("Beagle", "MaineCoon", "Sphynx")):
        folder = tmp_path / "pets" / breed
        folder.mkdir(parents=True)
        for number in range(2 + index):
            color = (80 * index, 120, 40 * number)
            Image.new("RGB", (50 + number, 40), color).save(folder / f"{number}.jpg")
    (tmp_path / "pets.yaml").write_text(SPEC)
    return tmp_path / "pets.yaml", tmp_path / "pets"


def evaluate(verb: str, checkpoint: Path, spec: Path, folder: Path, out: Path, *options: str) -> dict:
    """Run a verb of `cloob evaluate` on the test set; returns its result file."""
    arguments = [f"--checkpoint={checkpoint}", f"--testset={spec}={folder}", f"--out-dir={out}"]
    arguments += [f"--feature-cache={out.parent / 'features'}", "--device=cpu", *options]
    with pytest.raises(SystemExit) as exit_info:
        main(["evaluate", verb, *arguments])
    assert exit_info.value.code == 0
    return json.loads((out / "pets.json").read_text())


def test_image_folder_is_evaluated_zeroshot_with_its_spec_alone(
    pets: tuple[Path, Path], checkpoint: Path, tmp_path: Path
) -> None:
    result = evaluate("zeroshot", checkpoint, *pets, tmp_path / "zeroshot")
    assert (result["title"], result["images"], result["classes"], result["prompts"]) == ("Pets", 9, 3, 1)
    per_class = {entry["class"]: entry["images"] for entry in result["per_class"]}
    assert per_class == {"Beagle": 2, "Maine Coon": 3, "Sphynx": 4}


def test_image_folder_with_a_training_folder_is_probed(
    pets: tuple[Path, Path], checkpoint: Path, tmp_path: Path
) -> None:
    spec, folder = pets
    folder.rename(tmp_path / "moved")
    (folder / "train").mkdir(parents=True)
    (tmp_path / "moved").rename(folder / "test")
    for breed in ("Beagle", "MaineCoon", "Sphynx"):
        (folder / "train" / breed).mkdir()
        for number in range(4):
            Image.effect_noise((40, 40 + number), 60).save(folder / "train" / breed / f"{number}.png")
    spec.write_text(SPEC.replace("test: .", "test: test\ntrain: train"))
    options = ["--features=after_projection", "--l2-min=0.1", "--l2-max=10", "--l2-num=3"]
    options += ["--val-fraction=0.25", "--seed=0"]
    result = evaluate("linear-probe", checkpoint, spec, folder, tmp_path / "probe", *options)
    assert (result["images"], result["training_images"], result["validation_images"]) == (9, 9, 3)
    assert result["training"]["dataset"] == "pets"
