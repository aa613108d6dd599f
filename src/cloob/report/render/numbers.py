"""Numbers as printed in tables."""

import pandas as pd

from cloob.report.stats.intervals import INTERVAL, MIN_SEEDS, RANGE

MISSING = "—"


def mean_std(values: pd.Series, decimals: int = 2) -> str:
    """Mean ± sample standard deviation from three values on.

    Two values are their mean and range, one is itself, none a dash.
    """
    values = values.dropna()
    if values.empty:
        return MISSING
    text = number(values.mean(), decimals)
    if len(values) == 2:
        low, high = number(values.min(), decimals), number(values.max(), decimals)
        return text if low == high else f"{text} ({low} to {high})"
    return f"{text} ± {values.std(ddof=1):.{decimals}f}" if len(values) >= MIN_SEEDS else text


def number(value: float | None, decimals: int = 2, signed: bool = False) -> str:
    """A number with a typographic minus; a dash for None and NaN, and no sign for zero."""
    if value is None or pd.isna(value):
        return MISSING
    text = f"{value:{'+' if signed else ''}.{decimals}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def interval(low: float | None, high: float | None, decimals: int, kind: str, signed: bool = False) -> str:
    """` [1.20, 1.40]` for a confidence interval, ` (1.20 to 1.40)` for a range, nothing without either."""
    if low is None or high is None or kind not in (INTERVAL, RANGE):
        return ""
    bounds = [number(bound, decimals, signed) for bound in (low, high)]
    return f" [{bounds[0]}, {bounds[1]}]" if kind == INTERVAL else f" ({bounds[0]} to {bounds[1]})"


def probability(value: float | None) -> str:
    """A p-value with three decimals, never zero."""
    if value is None or pd.isna(value):
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def footnote_mark(index: int) -> str:
    """The mark of a footnote: a, b, … z, aa, ab, …"""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters
