"""What the options of the reader `url_list` mean together, known without reading a file."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

FORMATS = ("tsv", "csv", "parquet")
DEFAULT_COLUMNS = {"url_column": "url", "caption_column": "caption"}


def format_by_name(path: str | PurePath) -> str:
    """The format that the name of a file indicates."""
    name = PurePath(path).name.lower().removesuffix(".bz2")
    return next((form for form in FORMATS if name.endswith(f".{form}")), "tsv")


def column_problems(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The options, each with an explanation, that name a column although a list has no header."""
    paths = options["list"] if isinstance(options["list"], list) else [options["list"]]
    formats = {options.get("format") or format_by_name(path) for path in paths}
    if options.get("header", True) or formats == {"parquet"}:  # which always names its columns
        return
    for option, default in DEFAULT_COLUMNS.items():
        column = options.get(option, default)
        if not isinstance(column, int):
            yield option, f"without a header a column is given by its number, from 0, not as {column!r}"
