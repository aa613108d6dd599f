"""The panels of a figure: one per corpus, architecture and recipe."""

import re
from collections.abc import Sequence

import pandas as pd

from cloob.report.names import ARCHITECTURES, OBJECTIVE_TITLES, Labels, ordered, positions
from cloob.report.render.style import figure_text

_PANEL = ["corpus", "architecture", "recipe"]
MAX_NAME = 24  # characters of a name in a panel title
_TICK_CHARACTERS = 100  # of all tick labels side by side in a figure of two columns
_MAX_LINES = 4  # of a tick label


def panels(data: pd.DataFrame, labels: Labels) -> list[tuple[str, pd.DataFrame]]:
    """(title, rows) per corpus, architecture and recipe, in the paper's order.

    The title has the recipe only if a corpus and architecture has several.
    """
    several = (data.groupby(["corpus", "architecture"]).recipe.nunique() > 1).any()
    corpora, architectures = positions(data.corpus), positions(data.architecture, ARCHITECTURES)
    parts = sorted(
        data.groupby(_PANEL, sort=True), key=lambda part: (corpora[part[0][0]], architectures[part[0][1]])
    )
    titled = []
    for (corpus, architecture, recipe), part in parts:
        names = [labels.corpus(corpus), architecture, *([recipe] if several else [])]
        titled.append((" · ".join(figure_text(name, MAX_NAME) for name in names), part))
    return titled


def tick_labels(names: Sequence[str]) -> list[str]:
    """Names with line breaks, so that they fit side by side below a figure of two columns.

    Lines end at spaces, hyphens and underscores where possible; the rest of a name that is longer than
    `_MAX_LINES` lines is replaced by an ellipsis.
    """
    width = max(_TICK_CHARACTERS // len(names), 5)
    return [_wrapped(name, width) for name in names]


def _wrapped(name: str, width: int) -> str:
    lines = [""]
    for piece in re.findall(r"[^\s_-]*[_-]+|[^\s_-]+\s?|\s", name):
        # A hyphen at the end of a line is narrow.
        size = width + piece.endswith(("-", "_"))
        for start in range(0, len(piece.rstrip()), size):
            part = piece[start : start + size]
            if len(lines[-1] + part.rstrip()) > size and lines[-1]:
                lines.append("")
            lines[-1] += part
    lines = [line.rstrip() for line in lines]
    if len(lines) > _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 1], f"{lines[_MAX_LINES - 1][: width - 1]}…"]
    return "\n".join(lines)


def objectives_of(data: pd.DataFrame) -> list[str]:
    """The objectives of the data in their order."""
    return ordered(data.objective, OBJECTIVE_TITLES)


def split_title(labels: Labels, corpus: str, split: str) -> str:
    """`Conceptual Captions, train`."""
    return f"{figure_text(labels.corpus(corpus), MAX_NAME)}, {figure_text(split, MAX_NAME)}"
