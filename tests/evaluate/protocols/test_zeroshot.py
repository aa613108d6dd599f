"""Zero-shot classification against an independent float64 implementation of the protocol."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cloob.cli import main
from cloob.common.bit_strings import unpack_bits
from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.protocols.result import evaluation_metadata, is_up_to_date
from cloob.evaluate.protocols.zeroshot import class_weights
from cloob.evaluate.testsets.image_folder import load_image
from cloob.metrics.accuracy import accuracies
from cloob.models.load import load_model
from cloob.models.preprocessing import evaluation_transform
from cloob.models.tokenizer import tokenizer_for

PROMPTS = ["a photo of a {} square.", "a {} thing.", "{}"]


def evaluate(checkpoint: Path, out: Path, *testsets: tuple[Path, Path], workers: int = 0) -> int:
    """Run the command as the pipeline does; returns its exit status."""
    pairs = ["--testset", *(f"{spec_path}={folder}" for spec_path, folder in testsets)]
    options = ["--device", "cpu", "--batch-size", "4", "--workers", str(workers)]
    options += [
        "--feature-cache",
        str(out.parent / "features"),
        "--predictions-dir",
        str(out / "predictions"),
    ]
    with pytest.raises(SystemExit) as end:
        main(
            ["evaluate", "zeroshot", "--checkpoint", str(checkpoint), "--out-dir", str(out), *options, *pairs]
        )
    return end.value.code


def oracle_weights(checkpoint: Path, names: list[str], prompts: list[str]) -> np.ndarray:
    """Per class: the mean of the normalized prompt embeddings, normalized again; one text at a time."""
    model = load_model(checkpoint)
    model, tokenizer = model.double(), tokenizer_for(model.config)
    weights = []
    for name in names:
        embeddings = []
        for prompt in prompts:
            with torch.no_grad():
                embedding = model.encode_text(tokenizer([prompt.replace("{}", name)]))[0].numpy()
            embeddings.append(embedding / np.sqrt((embedding**2).sum()))
        mean = np.mean(embeddings, axis=0)
        weights.append(mean / np.sqrt((mean**2).sum()))
    return np.stack(weights, axis=1)


@pytest.mark.parametrize(
    ("verb", "first", "second", "options"),
    [
        ("zeroshot", "--out-dir", "--predictions-dir", ["--testset={0}/d.yaml={0}"]),
        ("image-text", "--retrieval-dir", "--structure-dir", ["--pairs=a={0}/shards.json", "--title=A"]),
    ],
)
def test_one_folder_for_both_kinds_of_results_is_rejected(
    tmp_path: Path,
    write_spec: Callable,
    capsys: pytest.CaptureFixture,
    verb: str,
    first: str,
    second: str,
    options: list[str],
) -> None:
    write_spec(tmp_path / "d.yaml")
    folders = [f"{first}={tmp_path}/out", f"{second}={tmp_path}/more/../out"]
    common = ["--checkpoint=none.pt", f"--feature-cache={tmp_path}"]
    with pytest.raises(SystemExit) as end:
        main(["evaluate", verb, *common, *folders, *(option.format(tmp_path) for option in options)])
    assert end.value.code == 2
    assert f"{second}: {tmp_path}/more/../out is also {first}; give another" in capsys.readouterr().err


def test_class_weights_follow_the_protocol(checkpoint: Path) -> None:
    names = ["red", "green", "Cote d'Ivoire", "a {curly} name"]
    model = load_model(checkpoint)
    weights = class_weights(model, tokenizer_for(model.config), names, PROMPTS)
    np.testing.assert_allclose(weights.numpy(), oracle_weights(checkpoint, names, PROMPTS), atol=1e-6)


def test_class_weights_are_independent_of_the_batch_size(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"thing number {number}" for number in range(7)]
    model = load_model(checkpoint)
    tokenizer = tokenizer_for(model.config)
    at_once = class_weights(model, tokenizer, names, PROMPTS)
    monkeypatch.setattr("cloob.evaluate.protocols.zeroshot.TEXTS_PER_BATCH", 6)
    torch.testing.assert_close(class_weights(model, tokenizer, names, PROMPTS), at_once)


def test_result_file_has_the_accuracies_of_the_reference_implementation(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, checkpoint: Path
) -> None:
    folder = make_testset({"0": 5, "1": 0, "2": 4, "3": 1, "4": 3, "5": 2})
    names = ["red", "green", "blue", "black", "white", "gray"]
    spec_path = write_spec(tmp_path / "d.yaml", classes=names, prompts=PROMPTS, expected={"empty": [1]})
    assert evaluate(checkpoint, tmp_path / "out", (spec_path, folder), workers=1) == 0
    result = json.loads((tmp_path / "out" / "colors.json").read_text())

    model = load_model(checkpoint)
    transform, weights = (
        evaluation_transform(model.config),
        oracle_weights(checkpoint, names, PROMPTS),
    )
    right, top5, per_class = [], [], {}
    for path in sorted((folder / "test").rglob("*.png")):
        with torch.no_grad():
            feature = model.double().encode_image(transform(load_image(str(path)))[None].double())[0].numpy()
        best = np.argsort(-(feature @ weights))
        label = int(path.parent.name)
        right.append(best[0] == label)
        top5.append(label in best[:5])
        per_class.setdefault(label, []).append(best[0] == label)
    assert result["images"] == len(right) == 15
    assert result["metrics"] == pytest.approx(
        {
            "accuracy": np.mean(right),
            "accuracy_top5": np.mean(top5),
            "mean_per_class_accuracy": np.mean([np.mean(correct) for correct in per_class.values()]),
        }
    )
    assert unpack_bits(result["correct_images"], 15).tolist() == right
    assert (result["classes"], result["chance"], result["prompts"]) == (6, 1 / 6, 3)
    assert result["run"] == model.metadata["run"]
    assert (result["epoch"], result["protocol"], result["dataset"]) == (3, "zeroshot", "colors")


def test_accuracies_of_a_hand_computed_example() -> None:
    # Images 1, 3 and 4 are right. Classes 3 and 5 have no images.
    logits = torch.eye(6)[[0, 0, 1, 2, 5]] + torch.linspace(0, 0.5, 6)
    labels = torch.tensor([0, 1, 1, 2, 4])
    assert accuracies(logits, labels)["metrics"] == pytest.approx(
        {"accuracy": 3 / 5, "accuracy_top5": 4 / 5, "mean_per_class_accuracy": (1 + 1 / 2 + 1 + 0) / 4}
    )


def test_ties_are_resolved_in_favor_of_the_first_class() -> None:
    assert accuracies(torch.zeros(2, 3), torch.tensor([0, 1]))["metrics"]["accuracy"] == 1 / 2


@pytest.mark.parametrize(("classes", "is_reported"), [(5, False), (6, True)])
def test_top5_accuracy_is_reported_for_more_than_five_classes(classes: int, is_reported: bool) -> None:
    top5 = accuracies(torch.zeros(2, classes), torch.tensor([0, 1]))["metrics"]["accuracy_top5"]
    assert (top5 is not None) == is_reported


def test_several_testsets_are_evaluated_in_one_call_and_reproducibly(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, checkpoint: Path
) -> None:
    folder = make_testset({"a": 2, "b": 2, "c": 1})
    sets = [(write_spec(tmp_path / f"{name}.yaml", name=name), folder) for name in ("one", "two")]
    for out in ("first", "second"):
        assert evaluate(checkpoint, tmp_path / out, *sets) == 0
    for name in ("one.json", "two.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_invalid_testset_is_rejected_in_one_line_before_anything_is_written(
    write_spec: Callable,
    tmp_path: Path,
    make_testset: Callable,
    checkpoint: Path,
    capfd: pytest.CaptureFixture,
) -> None:
    folder = make_testset({"a": 2, "b": 2, "c": 1})
    good = write_spec(tmp_path / "good.yaml", name="good")
    bad = write_spec(tmp_path / "bad.yaml", name="bad", expected={"images": 6})
    assert evaluate(checkpoint, tmp_path / "out", (good, folder), (bad, folder)) == 2
    message = capfd.readouterr().err.strip()
    assert "bad.yaml expects 6" in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_duplicate_testset_is_rejected(
    write_spec: Callable,
    tmp_path: Path,
    make_testset: Callable,
    checkpoint: Path,
    capfd: pytest.CaptureFixture,
) -> None:
    folder, spec_path = make_testset({"a": 1, "b": 1, "c": 1}), write_spec(tmp_path / "d.yaml")
    assert evaluate(checkpoint, tmp_path, (spec_path, folder), (spec_path, folder)) == 2
    assert "duplicate name" in capfd.readouterr().err


def test_diverged_checkpoint_is_reported(
    write_spec: Callable,
    tmp_path: Path,
    make_testset: Callable,
    checkpoint: Path,
    capfd: pytest.CaptureFixture,
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["text_projection"].fill_(float("nan"))
    torch.save(content, tmp_path / "nan.pt")
    folder, spec_path = make_testset({"a": 1, "b": 1, "c": 1}), write_spec(tmp_path / "d.yaml")
    assert evaluate(tmp_path / "nan.pt", tmp_path / "out", (spec_path, folder)) == 2
    assert "not finite" in capfd.readouterr().err


def test_results_per_class_sum_to_the_accuracy_and_intervals_contain_the_metrics(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, checkpoint: Path
) -> None:
    folder = make_testset({"a": 3, "b": 0, "c": 4})
    assert evaluate(checkpoint, tmp_path / "out", (write_spec(tmp_path / "d.yaml"), folder)) == 0
    result = json.loads((tmp_path / "out" / "colors.json").read_text())
    per_class = result["per_class"]
    assert [(entry["class"], entry["images"]) for entry in per_class] == [
        ("red", 3),
        ("green", 0),
        ("blue", 4),
    ]
    right = sum(entry["right"] for entry in per_class)
    assert result["metrics"]["accuracy"] == right / result["images"] == right / 7
    for metric, (low, high) in result["intervals"].items():
        assert low <= result["metrics"][metric] <= high
    assert set(result["intervals"]) == {
        "accuracy",
        "mean_per_class_accuracy",
    }  # three classes: no top-5 accuracy


def test_sample_predictions_have_the_top_five_classes(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, checkpoint: Path
) -> None:
    names = ["black", "blue", "gray", "green", "red", "white"]
    folder = make_testset(dict.fromkeys(names, 2))
    Image.new("RGB", (600, 300)).save(folder / "test" / "red" / "0.png")
    spec_path = write_spec(tmp_path / "d.yaml", classes=names, prompts=PROMPTS)
    assert evaluate(checkpoint, tmp_path / "out", (spec_path, folder)) == 0
    content = json.loads((tmp_path / "out" / "predictions" / "colors.json").read_text())
    assert (content["protocol"], content["dataset"], content["images"]) == ("predictions", "colors", 12)
    assert len({sample["image"] for sample in content["samples"]}) == len(content["samples"]) == 8
    model = load_model(checkpoint)
    weights, model = oracle_weights(checkpoint, names, PROMPTS), model.double()
    scale = model.logit_scale.exp().item()
    for sample in content["samples"]:
        assert names[sample["label"]] == sample["image"].split("/")[0]
        assert sample["class"] == names[sample["label"]]
        thumbnail = Image.open(io.BytesIO(base64.b64decode(sample["image_jpeg"])))
        assert thumbnail.format == "JPEG"
        assert max(thumbnail.size) <= 224
        pixels = evaluation_transform(model.config)(load_image(folder / "test" / sample["image"]))
        with torch.no_grad():
            feature = model.encode_image(pixels[None].double(), normalize=True)[0].numpy()
        odds = np.exp(scale * (feature @ weights))
        expected = sorted(zip(odds / odds.sum(), names, strict=True), reverse=True)[:5]
        assert [entry["class"] for entry in sample["top"]] == [name for _, name in expected]
        assert [entry["probability"] for entry in sample["top"]] == pytest.approx(
            [probability for probability, _ in expected], rel=1e-4
        )


def test_only_missing_and_outdated_results_are_computed(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, checkpoint: Path
) -> None:
    folder, out = make_testset({"a": 2, "b": 2, "c": 1}), tmp_path / "out"
    sets = [(write_spec(tmp_path / f"{name}.yaml", name=name), folder) for name in ("one", "two", "three")]
    assert evaluate(checkpoint, out, *sets) == 0
    (out / "two.json").write_text("[]")
    made = {path.name: path.stat().st_mtime_ns for path in out.glob("*.json")}
    write_spec(tmp_path / "three.yaml", name="three", prompts=["another {}"])
    assert evaluate(checkpoint, out, *sets) == 0
    again = {path.name: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert {name for name in made if made[name] != again[name]} == {"two.json", "three.json"}
    assert json.loads((out / "three.json").read_text())["prompts"] == 1


def test_class_weights_are_shared_by_testsets_with_the_same_prompts(
    write_spec: Callable,
    tmp_path: Path,
    make_testset: Callable,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, built = make_testset({"a": 2, "b": 2, "c": 1}), []

    def counting(model: object, tokenizer: Callable, names: list[str], *rest: object) -> torch.Tensor:
        built.append(names)
        return class_weights(model, tokenizer, names, *rest)

    monkeypatch.setattr("cloob.evaluate.protocols.zeroshot.class_weights", counting)
    sets = [(write_spec(tmp_path / f"{name}.yaml", name=name), folder) for name in ("one", "two")]
    sets.append((write_spec(tmp_path / "three.yaml", name="three", classes=["red", "green", "gray"]), folder))
    for out in ("first", "again"):
        assert evaluate(checkpoint, tmp_path / out, *sets) == 0
    assert built == [["red", "green", "blue"], ["red", "green", "gray"]]
    first, again = (tmp_path / out / "two.json" for out in ("first", "again"))
    assert first.read_bytes() == again.read_bytes()


def test_scales_stored_in_a_released_checkpoint_are_reported(checkpoint: Path, tmp_path: Path) -> None:
    extractor = FeatureExtractor(checkpoint, tmp_path, device="cpu")
    assert "hopfield_beta" not in evaluation_metadata(extractor, "zeroshot")
    extractor.model.metadata |= {"inv_temperature": 30.5, "hopfield_beta": None}  # like `convert`
    metadata = evaluation_metadata(extractor, "zeroshot")
    assert (metadata["inv_temperature"], metadata["hopfield_beta"]) == (30.5, None)


@pytest.mark.parametrize("damage", ["{", "[" * 100_000, "9" * 5_000])
def test_damaged_result_is_not_up_to_date(tmp_path: Path, damage: str) -> None:
    (tmp_path / "result.json").write_text(damage)
    assert not is_up_to_date(tmp_path / "result.json", {})
