"""The model card of a run: facts and numbers from its own results, and nothing from other weights."""

from pathlib import Path

import pytest
import yaml

from cloob.common.errors import InputError
from cloob.common.json_files import read_json, write_json
from cloob.report.model_card import TrainedModel, model_card
from tests.helpers.result_writers import run_of, write_log, write_result

RUN = run_of("cloob", seed=1)
METADATA = {"run": RUN, "epoch": 31, "recipe": {"batch_size": 64}, "corpus_sha256": "c" * 64}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A log, and zero-shot and retrieval results of the weights `w`."""
    write_log(tmp_path, RUN)
    paths = [
        write_result(tmp_path, RUN, 31, "zeroshot", name, accuracy=value, accuracy_top5=None)
        for name, value in (("imagenet", 0.2397), ("birdsnap", 0.0306))
    ]
    paths.append(write_result(tmp_path, RUN, 31, "retrieval", "cc3m_validation", image_to_text_r1=0.25))
    for path in paths:
        write_json(path, read_json(path) | {"checkpoint_sha256": "w"})
    content = read_json(paths[0])
    write_json(paths[0], content | {"intervals": {"accuracy": [0.2312, 0.2481]}})
    return tmp_path


def card_of(results: Path, **changes: object) -> str:
    return model_card(TrainedModel(METADATA | changes, "w", results), "mit")


def test_card_has_the_data_recipe_and_results_with_intervals(results: Path) -> None:
    card = card_of(results)
    assert "| Training data | cc3m |" in card
    assert "| Image-text pairs | 640 |" in card
    assert "| batch_size | 64 |" in card.replace("\\_", "_")
    assert "| ImageNet | 1000 | 23.97 [23.12, 24.81] | — |" in card
    assert card.index("Birdsnap") < card.index("| ImageNet")  # the order of the paper's tables
    assert "| 25.00 |" in card
    for heading in ("Usage", "Intended use and limitations", "License", "Citation"):
        assert f"\n## {heading}\n" in card


def test_header_is_metadata_of_the_hub(results: Path) -> None:
    header = yaml.safe_load(card_of(results).split("---\n")[1])
    assert header["license"] == "mit" and header["pipeline_tag"] == "zero-shot-image-classification"
    [index] = header["model-index"]
    assert index["name"] == RUN["name"]
    assert [entry["metrics"][0]["value"] for entry in index["results"]] == [3.06, 23.97]


def test_results_of_other_weights_are_rejected(results: Path) -> None:
    with pytest.raises(InputError, match=r"\.json: of other weights than the exported ones; evaluate"):
        model_card(TrainedModel(METADATA, "other", results), "mit")


def test_card_of_a_checkpoint_without_results_says_so(results: Path) -> None:
    card = card_of(results, epoch=12)
    assert "This checkpoint has not been evaluated." in card
    assert "model-index" not in card


@pytest.mark.parametrize("epochs_after", [0, 1])
def test_hours_are_those_of_a_log_that_ends_with_the_checkpoint(results: Path, epochs_after: int) -> None:
    write_log(results, RUN, starts=((2, "GPU_1"),) * (1 + epochs_after))  # an epoch per start
    assert ("| Hours in training steps |" in card_of(results, epoch=1)) == (epochs_after == 0)


def test_a_card_claims_no_language_or_source_of_the_captions(results: Path) -> None:
    card = card_of(results)
    assert "language" not in yaml.safe_load(card.split("---\n")[1]) and "English" not in card


def test_card_of_a_run_on_the_toy_dataset_names_it(results: Path) -> None:
    (results / "toy_data").mkdir()
    assert "synthetic images of the toy dataset, not the real corpus" in card_of(results)


def test_hostile_names_stay_plain_text(results: Path) -> None:
    run = RUN | {"corpus": "<script>|x", "name": RUN["name"]}
    card = card_of(results, run=run)
    assert "<script>" not in card and "\\|x" in card
