"""Corpus statistics as a table and as a figure, from manifests and outcomes that balance."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cloob.common.accounting import write_outcomes
from cloob.common.errors import InputError
from cloob.common.json_files import write_json
from cloob.report.figures import corpus
from cloob.report.load.inputs import Inputs
from cloob.report.make import make_figure, make_table
from cloob.report.names import Labels
from cloob.report.render.style import figure_style

TOY = Labels("dataset of the tests")


def statistics(scale: float) -> dict[str, Any]:
    edges = [1.0 * scale, 2.0 * scale, 3.0 * scale, 4.0 * scale]
    return {
        "minimum": 0.1, "median": 1.234 * scale, "mean": 1.3 * scale, "maximum": 2.9 * scale,
        "edges": edges, "counts": [1, 5, 2],
    }  # fmt: skip


def write_manifest(path: Path, samples: int = 8) -> Path:
    measures = ("width", "height", "aspect_ratio", "image_kilobytes", "caption_words")
    content = {measure: statistics(100 if measure == "width" else 1) for measure in measures}
    content |= {"captions_above_context": 4, "duplicates": 3, "reencoded": 2, "without_perceptual_hash": 1}
    write_json(path, {"samples": samples, "bytes": 4_560_000_000, "statistics": content})
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """A training split downloaded from a URL list of 20 rows, and one packed from existing shards."""
    stages = {
        "cc3m/train/urls": {"kept": 17, "malformed_row": 3},
        "cc3m/train/images": {"kept": 12, "http_404": 5},
        "cc3m/train/shards": {"kept": 8, "in_validation": 1, "truncated_image": 3},
        "yfcc15m/train/shards": {"kept": 8, "no_caption": 2},
    }
    outcomes = []
    for name, rows in stages.items():
        path = tmp_path / f"{name.replace('/', '_')}.csv"
        write_outcomes(path, rows, sum(rows.values()))
        outcomes.append((name, path))
    splits = [("cc3m", "train"), ("yfcc15m", "train")]
    manifests = [(split, write_manifest(tmp_path / f"{split[0]}.json")) for split in splits]
    return Inputs(manifests=manifests, outcomes=outcomes)


def test_table_compares_pairs_and_rejected_rows_with_the_paper(inputs: Inputs, tmp_path: Path) -> None:
    csv = tmp_path / "corpus.csv"
    text = make_table("corpus", inputs, csv)
    table = pd.read_csv(csv)
    values = table[table.corpus == "cc3m"].set_index("quantity").value
    assert values["rows of the URL list"] == 20 == values["pairs"] + 3 + 5 + 4
    assert values["rejected in the URL list"] == 3
    assert values["rejected in the download"] == 5
    assert values["rejected in packing"] == 4
    assert values["rejected in packing: images of the validation split"] == 1
    assert values["pairs (% of the URL list)"] == 40
    assert values["pairs in the paper"] == 2_890_000
    assert values["pairs in the paper (% of the URL list)"] == 87.09  # of 3,318,333
    assert (values["duplicate images"], values["re-encoded images"], values["gigabytes"]) == (3, 2, 4.56)
    assert values["image width (pixels), median"] == 123.4
    assert values["captions truncated by the tokenizer"] == 4
    assert values["captions truncated by the tokenizer (% of the pairs)"] == 50
    existing = table[table.corpus == "yfcc15m"].set_index("quantity").value
    assert existing["samples on disk"] == 10
    assert existing["pairs (% of the samples on disk)"] == 80
    assert "rejected in the URL list" not in existing and "rows of the URL list" not in existing
    assert text == (tmp_path / "corpus.md").read_text()
    assert "| rejected in the URL list | 3 | — |" in text
    assert "| pairs in the paper | 2,890,000 | 14,800,000 |" in text


def test_toy_dataset_is_not_compared_with_the_paper(inputs: Inputs, tmp_path: Path) -> None:
    inputs = replace(inputs, labels=TOY)
    text = make_table("corpus", inputs, tmp_path / "corpus.csv")
    assert TOY.title_suffix in text.splitlines()[0]
    assert "paper" not in text
    make_figure("corpus", inputs, tmp_path / "figure.png")
    assert "paper" not in (tmp_path / "figure.csv").read_text()


def test_figure_has_histograms_and_rejected_shares(inputs: Inputs, tmp_path: Path) -> None:
    png = tmp_path / "corpus.png"
    make_figure("corpus", inputs, png)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    points = pd.read_csv(tmp_path / "corpus.csv")
    values = points[points.corpus == "cc3m"].set_index("measure")
    assert values.loc["width"].share.tolist() == [1 / 8, 5 / 8, 2 / 8]
    assert values.loc["width"]["from"].tolist() == [100, 200, 300]
    bars = ["pairs", "rejected in the URL list", "rejected in the download", "rejected in packing"]
    assert values.loc[bars].share.tolist() == [8 / 20, 3 / 20, 5 / 20, 4 / 20]
    assert values.loc["pairs in the paper"].share == 0.8709
    assert (tmp_path / "corpus.sources.json").exists()


def test_eleven_splits_have_different_colors(inputs: Inputs) -> None:
    points = corpus.read(inputs)
    one = points[points.corpus == "cc3m"]
    data = pd.concat([one.assign(corpus=f"corpus{number}") for number in range(11)])
    with figure_style():
        figure = corpus.draw(data, TOY)
    [legend] = figure.legends
    assert len(legend.get_texts()) == len({line.get_color() for line in legend.get_lines()}) == 11


def test_same_input_gives_the_same_bytes(inputs: Inputs, tmp_path: Path) -> None:
    inputs = replace(inputs, labels=TOY)
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        make_table("corpus", inputs, tmp_path / folder / "t.csv")
        make_figure("corpus", inputs, tmp_path / folder / "f.png")
    for name in ("t.csv", "t.md", "t.tex", "f.png", "f.pdf", "f.svg", "f.csv"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_outcomes_of_other_shards_are_an_error(inputs: Inputs, tmp_path: Path) -> None:
    csv = tmp_path / "t.csv"
    first, _, *others = inputs.outcomes
    with pytest.raises(InputError, match="no outcomes of yfcc15m/train"):
        make_table("corpus", replace(inputs, outcomes=inputs.outcomes[:3]), csv)
    with pytest.raises(InputError, match="do not balance"):
        make_table("corpus", replace(inputs, outcomes=[first, *others]), csv)
    (_, manifest), _ = inputs.manifests
    write_manifest(manifest, samples=9)
    with pytest.raises(InputError, match=r"9 samples, but .* has 8 kept rows"):
        make_table("corpus", inputs, csv)
    write_json(manifest, {"samples": 8, "bytes": 0})
    with pytest.raises(InputError, match=re.escape("not a manifest with statistics")):
        make_table("corpus", inputs, csv)
    assert not csv.exists()
