"""The tables of released checkpoints: measured and published accuracies that belong together."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cloob.cli import main
from tests.helpers.repository import ROOT

PAPER = ROOT / "config" / "paper_results.csv"
COLUMN = "YFCC15M/RN50/CLOOB/28"


def write_result(
    path: Path,
    dataset: str,
    accuracy: float,
    architecture: str = "RN50",
    epoch: int | None = 28,
    protocol: str = "zeroshot",
) -> Path:
    result = {
        "protocol": protocol,
        "run": {"name": "released", "architecture": architecture},
        "epoch": epoch,
        "dataset": dataset,
        "images": 1000,
        "metrics": {"accuracy": accuracy, "accuracy_top5": None, "mean_per_class_accuracy": accuracy / 2},
        "inv_temperature": 29.99999,
        "hopfield_beta": None,
    }
    if protocol == "linear_probe":
        metrics = {"accuracy": accuracy / 2, "mean_per_class_accuracy": accuracy / 4}
        result["probes"] = [
            {"features": "after_projection", "metrics": result["metrics"], "converged": True},
            {"features": "before_projection", "metrics": metrics, "converged": False},
        ]
    path.write_text(json.dumps(result))
    return path


def make(folder: Path, *results: str, table: str = "released", paper: Path = PAPER) -> int:
    """Make a table; returns the exit status."""
    options = ["--paper", str(paper), "--csv", f"{folder}/released.csv", "--title-suffix", "test"]
    with pytest.raises(SystemExit) as exit_info:
        main(["report", "table", table, "--released", *results, *options])
    return exit_info.value.code


def test_every_test_set_is_compared_with_its_published_number_in_the_papers_order(tmp_path: Path) -> None:
    published = {
        "birdsnap": 28.9,
        "country211": 7.9,
        "flowers102": 55.1,
        "gtsrb": 8.1,
        "ucf101": 25.3,
        "stanford_cars": 4.1,
        "imagenet": 35.7,
        "imagenetv2": 34.6,
        "imagenetv2_threshold": 34.6,
        "imagenetv2_top_images": 34.6,
    }
    paths = [write_result(tmp_path / f"{name}.json", name, 0.3) for name in reversed(published)]
    assert make(tmp_path, *(f"{COLUMN}={path}" for path in paths)) == 0
    table = pd.read_csv(tmp_path / "released.csv")
    assert dict(zip(table.dataset, table.published_accuracy_pct, strict=True)) == published
    assert list(table.dataset) == list(published)
    assert table.difference_pct.tolist() == pytest.approx([30 - accuracy for accuracy in published.values()])
    text = (tmp_path / "released.md").read_text()
    assert "| Birdsnap | 1000 | 30.00 | 28.9 | +1.10 | 15.00 |" in text
    assert "Stored in the checkpoint of CLOOB, RN50, YFCC15M, epoch 28: 1/τ = 30 and no β." in text
    assert (table.inv_temperature == 29.99999).all()


def test_linear_probes_of_each_kind_of_features_are_compared_with_the_published_number(
    tmp_path: Path,
) -> None:
    path = write_result(tmp_path / "gtsrb.json", "gtsrb", 0.8, protocol="linear_probe")
    assert make(tmp_path, f"{COLUMN}={path}", table="released_linear_probe") == 0
    table = pd.read_csv(tmp_path / "released.csv")
    assert table.features.tolist() == ["after_projection", "before_projection"]
    assert table.accuracy_pct.tolist() == [80, 40]
    assert table.published_accuracy_pct.tolist() == [78.9, 78.9]
    assert table.difference_pct.tolist() == pytest.approx([1.1, -38.9])
    text = (tmp_path / "released.md").read_text()
    assert text.startswith("# Released checkpoints, linear-probe accuracy (%)")
    assert "## CLOOB, RN50, YFCC15M, epoch 28, features after the projection\n" in text
    assert "| GTSRB | 1000 | 40.00 | 78.9 | −38.90 | 20.00 |" in text
    assert "did not converge (see the warnings in the logs of these jobs): released, gtsrb." in text


def test_models_of_open_clip_are_compared_with_the_numbers_of_their_makers(tmp_path: Path) -> None:
    """Their results have neither an architecture nor an epoch, and no stored temperature."""
    path = write_result(tmp_path / "a.json", "imagenet", 0.3280, epoch=None)
    result = json.loads(path.read_text())
    del result["run"]["architecture"], result["inv_temperature"], result["hopfield_beta"]
    path.write_text(json.dumps(result))
    of_authors = write_result(tmp_path / "b.json", "imagenet", 0.35)
    column = "YFCC15M/RN50/CLIP (open_clip)/final"
    assert make(tmp_path, f"{COLUMN}={of_authors}", f"{column}={path}") == 0
    table = pd.read_csv(tmp_path / "released.csv").set_index("method")
    assert table.published_accuracy_pct.to_dict() == {"CLIP (open_clip)": 32.75, "CLOOB": 35.7}
    assert "mlfoundations/open_clip docs/openclip_results.csv" in table.source["CLIP (open_clip)"]
    assert "published_decimals" not in table
    text = (tmp_path / "released.md").read_text()
    assert "## CLIP (open_clip), RN50, YFCC15M\n" in text
    # As many decimals as its makers publish, so that the difference is that of the two numbers.
    assert "| ImageNet | 1000 | 32.80 | 32.75 | +0.05 | 16.40 |" in text
    assert "| ImageNet | 1000 | 35.00 | 35.7 | −0.70 | 17.50 |" in text
    assert "Stored in the checkpoint of CLOOB" in text and "Stored in the checkpoint of CLIP" not in text


def test_published_variant_of_imagenetv2_is_compared_with_that_variant_only(tmp_path: Path) -> None:
    """It is known for the models of open_clip, unlike the paper's."""
    column = "YFCC15M/RN50/CLIP (open_clip)/final"
    names = ("imagenetv2", "imagenetv2_threshold")
    paths = [write_result(tmp_path / f"{name}.json", name, 0.28, epoch=None) for name in names]
    assert make(tmp_path, *(f"{column}={path}" for path in paths)) == 0
    table = pd.read_csv(tmp_path / "released.csv")
    assert table.dataset.tolist() == list(names)
    assert table.published_accuracy_pct.tolist() == pytest.approx([27.93, float("nan")], nan_ok=True)


def write_retrieval(path: Path, dataset: str, recall: float, epoch: int | None = None) -> Path:
    """A retrieval result; each R@k is a little higher than the one before."""
    metrics = [f"{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]
    result = {
        "protocol": "retrieval",
        "run": {"name": "released", "architecture": "RN50"},
        "epoch": epoch,
        "dataset": dataset,
        "title": f"Title of {dataset}",
        "images": 1000,
        "texts": 5000,
        "metrics": {metric: recall + 0.01 * number for number, metric in enumerate(metrics)}
        | {"image_to_text_mean_rank": 3.0},
    }
    path.write_text(json.dumps(result))
    return path


def test_recalls_are_compared_with_the_published_ones_of_the_same_retrieval_set(tmp_path: Path) -> None:
    column = "YFCC15M/RN50/CLIP (open_clip)/final"
    own, flickr, coco = (
        write_retrieval(tmp_path / f"{name}.json", name, 0.3) for name in ("own", "flickr30k", "coco")
    )
    of_authors = write_retrieval(tmp_path / "cloob.json", "coco", 0.5, epoch=28)
    results = [f"{column}={own}", f"{column}={flickr}", f"{COLUMN}={of_authors}", f"{column}={coco}"]
    assert make(tmp_path, *results, table="released_retrieval") == 0
    table = pd.read_csv(tmp_path / "released.csv")
    assert len(table) == 4 * 6
    # open_clip's table: MSCOCO text retrieval (images to captions), then image retrieval, R@1, 5, 10.
    published = {
        "coco": [27.20, 52.60, 64.42, 16.45, 37.58, 48.91],
        "flickr30k": [49.10, 78.40, 88.70, 31.80, 58.76, 69.68],
    }
    of_open_clip = table[table.method == "CLIP (open_clip)"]
    for dataset, numbers in published.items():
        part = of_open_clip[of_open_clip.dataset == dataset]
        assert part.published_recall_pct.tolist() == numbers
        assert part.recall_pct.tolist() == pytest.approx([30, 31, 32, 33, 34, 35])
        assert part.difference_pct.tolist() == pytest.approx([*(part.recall_pct - numbers)])
        assert set(part.images) == {1000} and set(part.texts) == {5000}
    assert of_open_clip[of_open_clip.dataset == "own"].published_recall_pct.isna().all()
    assert table[table.method == "CLOOB"].published_recall_pct.isna().all()
    text = (tmp_path / "released.md").read_text()
    assert "## Title of flickr30k: CLIP (open_clip), RN50, YFCC15M\n" in text
    assert "| Image to text, R@5 (%) | 31.00 | 78.40 | −47.40 |" in text
    assert "| Text to image, R@10 (%) | 55.00 | — | — |" in text


def test_retrieval_result_without_a_recall_or_given_twice_is_an_error(tmp_path: Path, capfd) -> None:
    path = write_retrieval(tmp_path / "a.json", "coco", 0.5, epoch=28)
    assert make(tmp_path, f"{COLUMN}={path}", f"{COLUMN}={path}", table="released_retrieval") == 2
    assert "coco is given twice" in capfd.readouterr().err
    path.write_text(path.read_text().replace("text_to_image_r5", "text_to_image_r6"))
    assert make(tmp_path, f"{COLUMN}={path}", table="released_retrieval") == 2
    assert "a.json: key metrics.text_to_image_r5 is missing" in capfd.readouterr().err


def test_result_of_another_protocol_is_an_error(tmp_path: Path, capfd) -> None:
    zeroshot = write_result(tmp_path / "a.json", "birdsnap", 0.5)
    probe = write_result(tmp_path / "b.json", "gtsrb", 0.5, protocol="linear_probe")
    assert make(tmp_path, f"{COLUMN}={zeroshot}", f"{COLUMN}={probe}") == 2
    assert "protocol is linear_probe, not zeroshot" in capfd.readouterr().err


def test_test_set_or_checkpoint_without_a_published_number_has_dashes(tmp_path: Path) -> None:
    other = write_result(tmp_path / "a.json", "food101", 0.5)
    vit = write_result(tmp_path / "b.json", "birdsnap", 0.5, "ViT-B/32")
    assert make(tmp_path, f"{COLUMN}={other}", f"YFCC15M/ViT-B/32/CLOOB/28={vit}") == 0
    table = pd.read_csv(tmp_path / "released.csv")
    assert table.published_accuracy_pct.isna().all()
    assert "| Birdsnap | 1000 | 50.00 | — | — | 25.00 |" in (tmp_path / "released.md").read_text()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("YFCC15M/RN50x4/CLOOB/28", "of RN50 at epoch 28, not of RN50x4 at epoch 28"),
        ("YFCC15M/RN50/CLOOB/27", "not of RN50 at epoch 27"),
    ],
)
def test_result_of_another_checkpoint_is_an_error(tmp_path: Path, capfd, column: str, message: str) -> None:
    path = write_result(tmp_path / "a.json", "birdsnap", 0.5)
    assert make(tmp_path, f"{column}={path}") == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "released.csv").exists()


def test_duplicate_result_is_an_error(tmp_path: Path, capfd) -> None:
    path = write_result(tmp_path / "a.json", "birdsnap", 0.5)
    assert make(tmp_path, f"{COLUMN}={path}", f"{COLUMN}={path}") == 2
    assert "birdsnap is given twice" in capfd.readouterr().err


def test_csv_that_is_not_the_papers_results_is_an_error(tmp_path: Path, capfd) -> None:
    path = write_result(tmp_path / "a.json", "birdsnap", 0.5)
    (tmp_path / "paper.csv").write_text("a,b\n1,2\n")
    assert make(tmp_path, f"{COLUMN}={path}", paper=tmp_path / "paper.csv") == 2
    assert "not the table of the paper's results" in capfd.readouterr().err
