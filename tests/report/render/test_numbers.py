"""Numbers as printed in tables."""

import pandas as pd
import pytest

from cloob.report.render.numbers import footnote_mark, interval, mean_std, number, probability
from cloob.report.stats.intervals import INTERVAL, NO_INTERVAL, RANGE


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "—"),
        ([float("nan")], "—"),
        ([1.005], "1.00"),
        ([1.0, 2.0], "1.50 (1.00 to 2.00)"),
        ([1.0, 2.0, float("nan")], "1.50 (1.00 to 2.00)"),
        ([1.0, 1.0], "1.00"),
        ([1.0, 2.0, 3.0], "2.00 ± 1.00"),
        ([-1.0, -2.0, -3.0], "−2.00 ± 1.00"),
    ],
)
def test_mean_has_a_deviation_from_three_values_on_and_a_range_of_two(values: list[float], text: str) -> None:
    assert mean_std(pd.Series(values, dtype=float)) == text


def test_numbers_have_a_typographic_minus_and_zero_has_no_sign() -> None:
    assert number(-0.004) == number(0.0, signed=True) == "0.00"
    assert number(-0.5, 1, signed=True) == "−0.5"
    assert number(0.5, 1, signed=True) == "+0.5"
    assert number(None) == number(float("nan")) == "—"


def test_probabilities_are_never_zero() -> None:
    assert (probability(0.03125), probability(1e-5), probability(None)) == ("0.031", "<0.001", "—")


def test_intervals_have_brackets_and_ranges_parentheses() -> None:
    assert interval(-0.1, 0.5, 2, INTERVAL, signed=True) == " [−0.10, +0.50]"
    assert interval(0.1, 0.5, 1, RANGE) == " (0.1 to 0.5)"
    assert interval(None, None, 2, NO_INTERVAL) == ""


def test_footnote_marks_continue_after_z() -> None:
    assert [footnote_mark(index) for index in (0, 25, 26, 51, 52, 701, 702)] == (
        ["a", "z", "aa", "az", "ba", "zz", "aaa"]
    )
