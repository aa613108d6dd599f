"""Numbers as printed in tables."""

import pandas as pd

MISSING = "—"


def mean_std(values: pd.Series, decimals: int = 2) -> str:
    """Mean ± sample standard deviation; without the latter for one value, a dash for none."""
    values = values.dropna()
    if values.empty:
        return MISSING
    text = number(values.mean(), decimals)
    return f"{text} ± {values.std(ddof=1):.{decimals}f}" if len(values) > 1 else text


def number(value: float | None, decimals: int = 2, signed: bool = False) -> str:
    """A number with a typographic minus; a dash for None and NaN, and no sign for zero."""
    if value is None or pd.isna(value):
        return MISSING
    text = f"{value:{'+' if signed else ''}.{decimals}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def interval(low: float | None, high: float | None, decimals: int) -> str:
    """The signed bounds of a confidence interval; a dash if there is none."""
    if low is None or high is None:
        return MISSING
    return f"{number(low, decimals, signed=True)} to {number(high, decimals, signed=True)}"


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
