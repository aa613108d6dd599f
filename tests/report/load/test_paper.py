"""Lookup of the paper's numbers by the names of this pipeline."""

from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.report.load.paper import Paper
from tests.helpers.repository import ROOT

PAPER = Paper(ROOT / "config" / "paper_results.csv")


@pytest.mark.parametrize(
    ("cell", "mean", "std", "decimals"),
    [
        (("cc3m", "RN50", "clip", 31, "zeroshot", "birdsnap", "accuracy"), 2.26, 0.2, 2),
        (("cc3m", "RN50", "cloob", 128, "zeroshot", "imagenet", "accuracy"), 25.67, 0.22, 2),
        (("yfcc15m", "RN50x4", "cloob", 28, "zeroshot", "imagenetv2", "accuracy"), 37.3, None, 1),
        # This column names no epoch.
        (("yfcc15m", "RN101", "clip", 28, "zeroshot", "stanford_cars", "accuracy"), 3.8, None, 1),
        (("yfcc15m", "RN50", "cloob", 28, "linear_probe", "gtsrb", "accuracy"), 78.9, None, 1),
        (
            ("cc3m", "RN50", "infonce_hopfield", 128, "embedding_structure", "cc3m_validation", "ajne_image"),
            26.9,
            None,
            1,
        ),
        (
            ("cc3m", "RN50", "infoloob", 31, "embedding_structure", "cc3m_validation", "ajne_text"),
            4.9,
            None,
            1,
        ),
    ],
)
def test_cell_is_found_with_its_published_number(
    cell: tuple, mean: float, std: float | None, decimals: int
) -> None:
    published = PAPER.find(*cell)
    assert (published.mean, published.std, published.decimals) == (mean, std, decimals)
    assert published.source.startswith("authors blog")


@pytest.mark.parametrize(
    "cell",
    [
        ("cc3m", "RN50", "clip", 30, "zeroshot", "birdsnap", "accuracy"),
        ("cc3m", "RN101", "clip", 31, "zeroshot", "birdsnap", "accuracy"),
        ("cc3m", "RN_small", "clip", 31, "zeroshot", "birdsnap", "accuracy"),
        ("cc3m", "RN50", "clip", 31, "zeroshot", "birdsnap", "mean_per_class_accuracy"),
        ("cc3m", "RN50", "infoloob", 31, "zeroshot", "birdsnap", "accuracy"),
        # The paper's column is of OpenAI's CLIP, which is another method.
        ("yfcc15m", "RN50", "clip", 28, "linear_probe", "gtsrb", "accuracy"),
        ("yfcc15m", "RN101", "clip", 27, "zeroshot", "gtsrb", "accuracy"),
        ("elsewhere", "RN50", "clip", 31, "zeroshot", "birdsnap", "accuracy"),
    ],
)
def test_cell_that_the_paper_does_not_report_has_no_number(cell: tuple) -> None:
    assert PAPER.find(*cell) is None


def test_number_of_published_runs_is_known() -> None:
    assert PAPER.find("cc3m", "RN50", "clip", 31, "zeroshot", "birdsnap", "accuracy").runs == 5
    assert PAPER.find("yfcc15m", "RN50", "clip", 28, "zeroshot", "gtsrb", "accuracy").runs == 1
    # The paper's figures do not give a number of runs.
    assert PAPER.find("cc3m", "RN50", "clip", 31, "embedding_structure", "any", "ajne_text").runs == 1


def test_other_csv_is_an_error(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not the table of the paper's results"):
        Paper(other)
