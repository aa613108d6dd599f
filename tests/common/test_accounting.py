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


@pytest.mark.parametrize(
    "content", [b"PAR1\xff", b"outcome,rows\nkept\n", b"a" * 200_000, b"outcome,rows\nkept,\r3\n"]
)
def test_a_file_that_is_not_a_table_of_outcomes_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "outcomes.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"outcomes\.csv: not a table of outcomes"):
        read_outcomes(tmp_path / "outcomes.csv")
