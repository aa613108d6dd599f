"""The published numbers: those that belong to a cell, and no others."""

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
        # No epoch is named in this column.
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
def test_a_cell_has_its_number(cell: tuple, mean: float, std: float | None, decimals: int) -> None:
    found = PAPER.find(*cell)
    assert (found.mean, found.std, found.decimals) == (mean, std, decimals)
    assert found.source.startswith("authors blog")


@pytest.mark.parametrize(
    "cell",
    [
        ("cc3m", "RN50", "clip", 30, "zeroshot", "birdsnap", "accuracy"),
        ("cc3m", "RN101", "clip", 31, "zeroshot", "birdsnap", "accuracy"),
        ("cc3m", "RN_small", "clip", 31, "zeroshot", "birdsnap", "accuracy"),
        ("cc3m", "RN50", "clip", 31, "zeroshot", "birdsnap", "mean_per_class_accuracy"),
        ("cc3m", "RN50", "infoloob", 31, "zeroshot", "birdsnap", "accuracy"),
        # OpenAI's CLIP is another method, and its column names no epoch.
        ("yfcc15m", "RN50", "clip", 28, "linear_probe", "gtsrb", "accuracy"),
        ("yfcc15m", "RN101", "clip", 27, "zeroshot", "gtsrb", "accuracy"),
        ("elsewhere", "RN50", "clip", 31, "zeroshot", "birdsnap", "accuracy"),
    ],
)
def test_what_the_paper_does_not_report_has_none(cell: tuple) -> None:
    assert PAPER.find(*cell) is None


def test_within_the_deviation() -> None:
    known = PAPER.find("cc3m", "RN50", "clip", 31, "zeroshot", "birdsnap", "accuracy")
    assert [known.holds(each) for each in (2.06, 2.46, 2.05, 2.47)] == [True, True, False, False]
    assert PAPER.find("yfcc15m", "RN50", "clip", 28, "zeroshot", "gtsrb", "accuracy").holds(7.9) is None


def test_another_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not the table of the paper's results"):
        Paper(other)
