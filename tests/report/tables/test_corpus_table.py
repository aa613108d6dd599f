"""The corpora in numbers and at a glance: from manifests and accounting that balance."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cloob.common.accounting import write_outcomes
from cloob.common.errors import InputError
from cloob.common.json_files import write_json
from cloob.report.figures.corpus import report_corpus_figure
from cloob.report.tables.corpus import report_corpora

MARK = "a world of the tests"
Inputs = tuple[list[tuple[tuple[str, str], Path]], list[tuple[str, Path]]]


def described(scale: float) -> dict[str, Any]:
    edges = [1.0 * scale, 2.0 * scale, 3.0 * scale, 4.0 * scale]
    return {
        "minimum": 0.1, "median": 1.234 * scale, "mean": 1.3 * scale, "maximum": 2.9 * scale,
        "edges": edges, "counts": [1, 5, 2],
    }  # fmt: skip


def manifest(path: Path, samples: int = 8) -> Path:
    measures = ("width", "height", "aspect_ratio", "image_kilobytes", "caption_words")
    statistics = {measure: described(100 if measure == "width" else 1) for measure in measures}
    statistics |= {"duplicates": 3, "reencoded": 2, "without_perceptual_hash": 1}
    write_json(path, {"samples": samples, "bytes": 4_560_000_000, "statistics": statistics})
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Training of CC from a list of 20; YFCC from somebody's shards, which no list is known of."""
    accounting = {
        "cc3m/train/urls": {"kept": 17, "malformed_row": 3},
        "cc3m/train/images": {"kept": 12, "http_404": 5},
        "cc3m/train/shards": {"kept": 8, "in_validation": 1, "truncated_image": 3},
        "yfcc15m/train/shards": {"kept": 8, "no_caption": 2},
    }
    outcomes = []
    for name, rows in accounting.items():
        path = tmp_path / f"{name.replace('/', '_')}.csv"
        write_outcomes(path, rows, sum(rows.values()))
        outcomes.append((name, path))
    splits = [("cc3m", "train"), ("yfcc15m", "train")]
    return [(split, manifest(tmp_path / f"{split[0]}.json")) for split in splits], outcomes


def test_the_table_says_what_became_of_each_list_against_the_papers(inputs: Inputs, tmp_path: Path) -> None:
    csv = tmp_path / "corpus.csv"
    text = report_corpora(*inputs, csv, "")
    table = pd.read_csv(csv)
    of = table[table.corpus == "cc3m"].set_index("quantity").value
    assert of["rows of the list"] == 20 == of["pairs"] + 3 + 5 + 4
    assert of["refused in the list"] == 3
    assert of["refused in the download"] == 5
    assert of["refused in packing"] == 4
    assert of["of these, images of the validation split"] == 1
    assert of["share of the list (%)"] == 40
    assert of["pairs in the paper"] == 2_890_000
    assert of["paper's share of its list (%)"] == 87.09  # of 3 318 333
    assert (of["images that occur again"], of["images encoded again"], of["gigabytes"]) == (3, 2, 4.56)
    assert of["image width (pixels), median"] == 123.4
    assert text == (tmp_path / "corpus.md").read_text()
    assert "| refused in the list | 3 | — |" in text
    assert "| pairs in the paper | 2,890,000 | 14,800,000 |" in text


def test_nothing_of_the_paper_stands_beside_a_small_world(inputs: Inputs, tmp_path: Path) -> None:
    text = report_corpora(*inputs, tmp_path / "corpus.csv", MARK)
    assert MARK in text.splitlines()[0]
    assert "paper" not in text
    report_corpus_figure(*inputs, tmp_path / "figure.png", MARK)
    assert "paper" not in (tmp_path / "figure.csv").read_text()


def test_the_figure_draws_what_stands_beside_it(inputs: Inputs, tmp_path: Path) -> None:
    png = tmp_path / "corpus.png"
    report_corpus_figure(*inputs, png, "")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    points = pd.read_csv(tmp_path / "corpus.csv")
    of = points[points.corpus == "cc3m"].set_index("measure")
    assert of.loc["width"].share.tolist() == [1 / 8, 5 / 8, 2 / 8]
    assert of.loc["width"]["from"].tolist() == [100, 200, 300]
    losses = of.loc[["pairs", "refused in the list", "refused in the download", "refused in packing"]]
    assert losses.share.tolist() == [8 / 20, 3 / 20, 5 / 20, 4 / 20]
    assert of.loc["pairs in the paper"].share == 0.8709
    assert (tmp_path / "corpus.sources.json").exists()


def test_the_same_numbers_give_the_same_bytes(inputs: Inputs, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        report_corpora(*inputs, tmp_path / folder / "t.csv", MARK)
        report_corpus_figure(*inputs, tmp_path / folder / "f.png", MARK)
    for name in ("t.csv", "t.md", "t.tex", "f.png", "f.pdf", "f.svg", "f.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_books_of_other_shards_are_an_error(inputs: Inputs, tmp_path: Path) -> None:
    manifests, outcomes = inputs
    csv = tmp_path / "t.csv"
    with pytest.raises(InputError, match="no accounting of yfcc15m/train"):
        report_corpora(manifests, outcomes[:3], csv, MARK)
    with pytest.raises(InputError, match="do not balance"):
        report_corpora(manifests, [outcomes[0], outcomes[2], outcomes[3]], csv, MARK)
    manifest(manifests[0][1], samples=9)
    with pytest.raises(InputError, match=r"9 samples, but .* says 8"):
        report_corpora(manifests, outcomes, csv, MARK)
    write_json(manifests[0][1], {"samples": 8, "bytes": 0})
    with pytest.raises(InputError, match=re.escape("no manifest with statistics")):
        report_corpora(manifests, outcomes, csv, MARK)
    assert not csv.exists()
