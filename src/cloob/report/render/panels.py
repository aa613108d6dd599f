"""The panels of a figure: one per corpus, architecture and recipe."""

import pandas as pd

from cloob.report.names import ARCHITECTURES, OBJECTIVE_TITLES, Labels, ordered, positions
from cloob.report.render.style import figure_text

_PANEL = ["corpus", "architecture", "recipe"]
MAX_NAME = 24  # characters of a name in a panel title


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


def objectives_of(data: pd.DataFrame) -> list[str]:
    """The objectives of the data in their order."""
    return ordered(data.objective, OBJECTIVE_TITLES)


def split_title(labels: Labels, corpus: str, split: str) -> str:
    """`Conceptual Captions, train`."""
    return f"{figure_text(labels.corpus(corpus), MAX_NAME)}, {figure_text(split, MAX_NAME)}"
