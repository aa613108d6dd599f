"""The table of row accounting: rows of the source = images in the shards + rejected rows, or an error."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture
def write_outcomes(tmp_path: Path) -> Callable[..., str]:
    """Write the outcomes of one stage; returns the value of `--outcomes` for it."""

    def write(name: str, **outcomes: int) -> str:
        path = tmp_path / f"{name.replace('/', '_')}.csv"
        path.write_text(
            "outcome,rows\n" + "".join(f"{outcome},{rows}\n" for outcome, rows in outcomes.items())
        )
        return f"{name}={path}"

    return write


EXPECTED = """\
# Row accounting · Toy dataset: not the paper's figures

## Conceptual Captions, train

| Stage | Outcome | Rows | Percent of the URL list |
| --- | --- | ---: | ---: |
|  | rows of the URL list | 1000 | 100.0% |
| urls | rejected: malformed | 100 | 10.0% |
| images | rejected: missing | 150 | 15.0% |
| images | rejected: broken | 50 | 5.0% |
|  | rejected, total | 300 | 30.0% |
|  | images in the shards | 700 | 70.0% |

Rows of the source = images in the shards + rejected rows: checked when this table is made.
"""


def make(report: Callable, tmp_path: Path, *outcomes: str) -> int:
    return report("table", "accounting", "--outcomes", *outcomes, "--csv", tmp_path / "accounting.csv")


def test_accounting_lists_the_outcomes_of_all_stages(
    report: Callable, write_outcomes: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    outcomes = [
        write_outcomes("cc3m/train/urls", kept=900, malformed=100),
        write_outcomes("cc3m/train/images", kept=700, broken=50, missing=150, slow=0),
        write_outcomes("cc3m/train/shards", kept=700),
    ]
    assert make(report, tmp_path, *outcomes) == 0
    assert (tmp_path / "accounting.md").read_text() == EXPECTED
    assert capsys.readouterr().out.strip() == EXPECTED.strip()
    table = pd.read_csv(tmp_path / "accounting.csv")
    assert list(table.columns) == ["corpus", "split", "stage", "outcome", "rows"]
    assert table[table.stage == "images"].set_index("outcome").rows.to_dict() == (
        {"kept": 700, "broken": 50, "missing": 150, "slow": 0}
    )
    assert (tmp_path / "accounting.sources.json").is_file()


def test_each_split_balances_separately(report: Callable, write_outcomes: Callable, tmp_path: Path) -> None:
    outcomes = [
        write_outcomes("cc3m/train/urls", kept=5),
        write_outcomes("yfcc15m/train/urls", kept=3, video=1),
        write_outcomes("cc3m/train/shards", kept=5),
        write_outcomes("yfcc15m/train/shards", kept=3),
    ]
    assert make(report, tmp_path, *outcomes) == 0
    assert "## YFCC, train" in (tmp_path / "accounting.md").read_text()
    assert "|  | rejected, total | 1 | 25.0% |" in (tmp_path / "accounting.md").read_text()


def test_a_split_packed_from_existing_shards_has_no_url_list(
    report: Callable, write_outcomes: Callable, tmp_path: Path
) -> None:
    assert make(report, tmp_path, write_outcomes("cc3m/train/shards", kept=9, no_caption=1)) == 0
    text = (tmp_path / "accounting.md").read_text()
    assert "| Stage | Outcome | Rows | Percent of the samples on disk |" in text
    assert "|  | samples on disk | 10 | 100.0% |" in text
    assert "URL list" not in text


def test_empty_url_list_has_no_percentages(
    report: Callable, write_outcomes: Callable, tmp_path: Path
) -> None:
    assert make(report, tmp_path, write_outcomes("cc3m/train/urls", kept=0)) == 0
    assert "|  | rows of the URL list | 0 | — |" in (tmp_path / "accounting.md").read_text()


@pytest.mark.parametrize("received", [89, 91])
def test_rows_lost_or_added_between_stages_are_an_error(
    report: Callable, write_outcomes: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, received: int
) -> None:
    outcomes = [
        write_outcomes("cc3m/train/urls", kept=90),
        write_outcomes("cc3m/train/images", kept=80, missing=received - 80),
    ]
    assert make(report, tmp_path, *outcomes) == 2
    error = capsys.readouterr().err
    assert f"rows do not balance: {received} input rows, but" in error
    assert "kept 90" in error
    assert not (tmp_path / "accounting.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a readable outcome CSV"),
        ("outcome,rows\n", "first outcome `kept`"),
        ("outcome,rows\nlost,3\nkept,2\n", "first outcome `kept`"),
        ("reason,count\nkept,3\n", "columns outcome,rows"),
        ("outcome,rows\nkept,3\nlost,1\nlost,2\n", "'lost' is listed twice"),
        ("outcome,rows\nkept,3\nlost,-1\n", "must be non-negative integers"),
        ("outcome,rows\nkept,3\nlost,1.5\n", "must be non-negative integers"),
        ("outcome,rows\nkept,3\nlost,\n", "must be non-negative integers"),
    ],
)
def test_damaged_outcome_csv_is_an_error_that_names_the_file(
    report: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, text: str, message: str
) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text(text)
    assert make(report, tmp_path, f"cc3m/train/urls={path}") == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert str(path) in error
    assert "\n" not in error


def test_duplicate_stage_is_an_error(
    report: Callable, write_outcomes: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    outcomes = write_outcomes("cc3m/train/urls", kept=3)
    assert make(report, tmp_path, outcomes, outcomes) == 2
    assert "given twice" in capsys.readouterr().err


def test_name_without_a_stage_is_an_error(
    report: Callable, write_outcomes: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert make(report, tmp_path, write_outcomes("cc3m/train", kept=3)) == 2
    assert "CORPUS/SPLIT/STAGE" in capsys.readouterr().err
