"""Tables in LaTeX: pdflatex prints every character."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.repository import ROOT
from tests.helpers.result_writers import write_ranking
from tests.helpers.synthetic_results import write_synthetic_results

PAPER = ROOT / "config" / "paper_results.csv"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The inputs of each table."""
    folder = tmp_path_factory.mktemp("results")
    results = write_synthetic_results(folder, seeds=(1, 2, 3), epochs=(31,), eval_epochs=(31,))
    both = [*results.zeroshot, *results.structure, *results.logs]
    return {
        "zeroshot": results.zeroshot,
        "embedding_structure": results.structure,
        "throughput": results.logs,
        "provenance": results.logs,
        "claims": both,
        "ablation": both,
        "search": [write_ranking(folder, "lr", "clip", {1e-3: 0.3, 2e-3: 0.1})],
    }


@pytest.mark.parametrize(
    "name",
    ["zeroshot", "embedding_structure", "throughput", "provenance", "claims", "ablation", "search"],
)
def test_no_character_of_a_table_becomes_its_code_point(
    report: Callable[..., int], files: dict[str, list[Path]], tmp_path: Path, name: str
) -> None:
    csv = tmp_path / f"{name}.csv"
    assert report("table", name, "--results", *files[name], "--paper", PAPER, "--csv", csv) == 0
    assert "U+" not in csv.with_suffix(".tex").read_text(encoding="utf-8")
