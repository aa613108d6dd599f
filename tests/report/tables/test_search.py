"""The table of hyperparameter searches: choices, flatness of the optimum, edges of the grid, gaps."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.result_writers import write_ranking

# Learning rate -> mean R@1. The standard error of 30% of 1,000 pairs is 1.45 points.
AT_THE_EDGE = {8e-3: 0.3, 4e-3: 0.29, 2e-3: 0.286, 1e-3: 0.2}
INSIDE = {2e-3: 0.3, 1e-3: 0.1, 4e-3: 0.05, 8e-3: None}


@pytest.fixture
def table(report: Callable[..., int], tmp_path: Path) -> Callable[..., tuple[pd.DataFrame, str]]:
    """Make the table as the pipeline does; returns its CSV and its Markdown."""

    def make(paths: list[Path], *flags: str) -> tuple[pd.DataFrame, str]:
        csv = tmp_path / "tables" / "search.csv"
        assert report("table", "search", "--results", *paths, *flags, "--csv", csv) == 0
        return pd.read_csv(csv), csv.with_suffix(".md").read_text()

    return make


def test_settings_within_a_point_and_a_standard_error_of_the_best_are_counted(
    table: Callable, tmp_path: Path
) -> None:
    long, text = table([write_ranking(tmp_path, "lr", "clip", AT_THE_EDGE)])
    chosen = "learning_rate 0.008, warmup_steps 10"
    assert f"| CLIP | {chosen} | 30.00 ± 1.45 | 2 of 4 | 3 of 4 |" in text
    assert "| 1 | **learning_rate 0.008** | **30.00** | **31.00** | **29.00** |" in text
    assert "seed 0, 30 epochs, 1,000 validation pairs." in text
    assert list(long["rank"]) == [1, 2, 3, 4]
    assert list(long.mean_r1) == pytest.approx(list(AT_THE_EDGE.values()))


def test_choices_at_the_edge_of_their_grid_are_named(table: Callable, tmp_path: Path) -> None:
    inside = write_ranking(tmp_path, "lr", "cloob", INSIDE)
    _, text = table([inside])
    assert "No chosen value is at the edge of its grid." in text
    assert "| 4 | learning_rate 0.008 | diverged | — | — |" in text
    _, text = table([inside, write_ranking(tmp_path, "lr", "clip", AT_THE_EDGE)])
    # Only one value of warmup_steps was searched: it has no edge.
    assert "At the edge of the grid (CLIP: largest learning_rate): extend it" in text
    assert text.index("| CLIP |") < text.index("| CLOOB |")


def test_an_objective_without_trials_is_a_gap_with_a_footnote(table: Callable, tmp_path: Path) -> None:
    ranking = write_ranking(tmp_path, "lr", "clip", AT_THE_EDGE)
    missing = ranking.with_name("cloob_trials.json")
    _, text = table([ranking, missing], "--allow-missing")
    assert "| CLOOB [a] | — | — | — | — |" in text
    assert f"- [a] no trials yet; build `{missing}`" in text


def test_a_search_without_any_ranking_is_a_section_of_gaps(table: Callable, tmp_path: Path) -> None:
    missing = [tmp_path / "tune" / "later" / f"{name}_trials.json" for name in ("clip", "cloob")]
    long, text = table(missing, "--allow-missing")
    assert long.empty
    assert "## later: chosen recipes" in text
    assert "| CLIP [a] | — | — | — | — |" in text
    assert f"- [b] no trials yet; build `{missing[1]}`" in text
    assert "edge of" not in text and "all settings" not in text
    _, text = table([*missing, write_ranking(tmp_path, "lr", "clip", AT_THE_EDGE)], "--allow-missing")
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["## later: chosen recipes", "## lr: chosen recipes", "## lr: all settings"]
