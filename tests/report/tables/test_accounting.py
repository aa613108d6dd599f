"""The accounting: rows of the list = images in the shards + rows refused, or an error."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture
def write_outcomes(tmp_path: Path) -> Callable[..., str]:
    """Write the outcomes of one stage; returns the argument that names them."""

    def write(name: str, **outcomes: int) -> str:
        path = tmp_path / f"{name.replace('/', '_')}.csv"
        path.write_text(
            "outcome,rows\n" + "".join(f"{outcome},{rows}\n" for outcome, rows in outcomes.items())
        )
        return f"{name}={path}"

    return write


GOLDEN = """\
# Where every row of the lists went · The small world: not the paper's figures

## Conceptual Captions, train

| Stage | Outcome | Rows | Share of the list |
| --- | --- | ---: | ---: |
|  | rows in the list | 1000 | 100.0 % |
| links | refused: malformed | 100 | 10.0 % |
| images | refused: missing | 150 | 15.0 % |
| images | refused: broken | 50 | 5.0 % |
|  | refused in all | 300 | 30.0 % |
|  | images in the shards | 700 | 70.0 % |

Rows in the list = images in the shards + rows refused: checked when this table is made.
"""


def make(report: Callable, tmp_path: Path, *outcomes: str) -> int:
    return report("accounting", "--outcomes", *outcomes, "--csv", tmp_path / "accounting.csv")


def test_the_whole_way_of_a_list(
    report: Callable, write_outcomes: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    outcomes = [
        write_outcomes("cc3m/train/urls", kept=900, malformed=100),
        write_outcomes("cc3m/train/images", kept=700, broken=50, missing=150, slow=0),
        write_outcomes("cc3m/train/shards", kept=700),
    ]
    assert make(report, tmp_path, *outcomes) == 0
    assert (tmp_path / "accounting.md").read_text() == GOLDEN
    assert capsys.readouterr().out.strip() == GOLDEN.strip()
    table = pd.read_csv(tmp_path / "accounting.csv")
    assert list(table.columns) == ["corpus", "split", "stage", "outcome", "rows"]
    assert table[table.stage == "images"].set_index("outcome").rows.to_dict() == (
        {"kept": 700, "broken": 50, "missing": 150, "slow": 0}
    )
    assert (tmp_path / "accounting.sources.json").is_file()


def test_splits_are_separate_books(report: Callable, write_outcomes: Callable, tmp_path: Path) -> None:
    outcomes = [
        write_outcomes("cc3m/train/urls", kept=5),
        write_outcomes("yfcc15m/train/urls", kept=3, video=1),
        write_outcomes("cc3m/train/shards", kept=5),
        write_outcomes("yfcc15m/train/shards", kept=3),
    ]
    assert make(report, tmp_path, *outcomes) == 0
    assert "## YFCC, train" in (tmp_path / "accounting.md").read_text()
    assert "|  | refused in all | 1 | 25.0 % |" in (tmp_path / "accounting.md").read_text()


def test_an_empty_list_is_no_division_by_zero(
    report: Callable, write_outcomes: Callable, tmp_path: Path
) -> None:
    assert make(report, tmp_path, write_outcomes("cc3m/train/urls", kept=0)) == 0


@pytest.mark.parametrize("arrived", [89, 91])
def test_rows_lost_or_gained_between_stages_are_an_error(
    report: Callable, write_outcomes: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, arrived: int
) -> None:
    outcomes = [
        write_outcomes("cc3m/train/urls", kept=90),
        write_outcomes("cc3m/train/images", kept=80, gone=arrived - 80),
    ]
    assert make(report, tmp_path, *outcomes) == 2
    error = capsys.readouterr().err
    assert f"the accounting do not balance: {arrived} rows came in where" in error
    assert "90 were kept" in error
    assert not (tmp_path / "accounting.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a readable table of outcomes"),
        ("outcome,rows\n", "first `kept`"),
        ("outcome,rows\nlost,3\nkept,2\n", "first `kept`"),
        ("reason,count\nkept,3\n", "columns outcome,rows"),
        ("outcome,rows\nkept,3\nlost,1\nlost,2\n", "'lost' stands twice"),
        ("outcome,rows\nkept,3\nlost,-1\n", "not a number from 0"),
        ("outcome,rows\nkept,3\nlost,1.5\n", "not a number from 0"),
        ("outcome,rows\nkept,3\nlost,\n", "not a number from 0"),
    ],
)
def test_a_damaged_table_of_outcomes_is_refused(
    report: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, text: str, message: str
) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text(text)
    assert make(report, tmp_path, f"cc3m/train/links={path}") == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert str(path) in error
    assert "\n" not in error


def test_a_stage_given_twice_is_refused(
    report: Callable, write_outcomes: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    outcomes = write_outcomes("cc3m/train/urls", kept=3)
    assert make(report, tmp_path, outcomes, outcomes) == 2
    assert "given twice" in capsys.readouterr().err


def test_a_name_without_a_stage_is_refused(
    report: Callable, write_outcomes: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert make(report, tmp_path, write_outcomes("cc3m/train", kept=3)) == 2
    assert "corpus/split/stage" in capsys.readouterr().err
