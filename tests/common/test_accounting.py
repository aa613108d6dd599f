"""Row accounting files."""

from pathlib import Path

import pytest

from cloob.common.accounting import read_outcomes, write_outcomes
from cloob.common.errors import InputError


def test_outcomes_that_do_not_sum_to_the_total_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"3 input rows, 2 outcomes"):
        write_outcomes(tmp_path / "outcomes.csv", {"kept": 1, "timeout": 1}, total=3)
    assert not (tmp_path / "outcomes.csv").exists()


def test_outcomes_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "outcomes.csv", {"timeout": 1, "kept": 2}, total=3)
    assert read_outcomes(tmp_path / "outcomes.csv") == {"kept": 2, "timeout": 1}
