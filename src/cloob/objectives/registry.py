"""The contrastive objectives that a run can train with. Imports no third-party package.

An objective is one entry here, which everything else reads: the loss (`cloob.objectives.losses`), the
saturation metric, the config check, `cloob train --help`, and the names, colors and markers in tables and
figures. A new loss additionally needs a function of the margins in `cloob.objectives.margin_losses`.
"""

import re
from dataclasses import dataclass

_TEMPERATURE = ("inv_temperature", "learnable_temperature")


@dataclass(frozen=True)
class Objective:
    """A contrastive objective: a loss of the margins, with or without Hopfield retrieval before it."""

    name: str
    """Name in the config, in run names and in result files; letters, digits, _ and `.`."""
    title: str
    """Name in tables and legends."""
    description: str
    """One line for `--help` and the documentation."""
    loss: str
    """Key of `cloob.objectives.margin_losses.MARGIN_LOSSES`."""
    hopfield: bool
    """Whether the loss compares patterns retrieved from Hopfield networks instead of the embeddings."""
    paper_names: tuple[str, ...]
    """The methods of the paper's tables and figures (`config/paper_results.csv`), the preferred one first."""
    color: str
    """Color in figures, as #RRGGBB."""
    marker: str
    """Matplotlib marker of lines with few points."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.]+", self.name):  # run names are joined by hyphens
            raise ValueError(f"objective {self.name!r}: use letters, digits, _ and . in its name")

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """The recipe's hyperparameters that are chosen per objective."""
        return (*_TEMPERATURE, "hopfield_beta") if self.hopfield else _TEMPERATURE


# In the order of tables and legends. Blues for InfoNCE, oranges for InfoLOOB, from seaborn's palette
# `colorblind`.
_ENTRIES = (
    Objective(
        name="clip",
        title="CLIP",
        description="InfoNCE of the embeddings",
        loss="infonce",
        hopfield=False,
        paper_names=("CLIP", "InfoNCE"),
        color="#0173b2",
        marker="o",
    ),
    Objective(
        name="infonce_hopfield",
        title="InfoNCE + Hopfield",
        description="InfoNCE after Hopfield retrieval",
        loss="infonce",
        hopfield=True,
        paper_names=("InfoNCE-Hopfield",),
        color="#56b4e9",
        marker="s",
    ),
    Objective(
        name="infoloob",
        title="InfoLOOB",
        description="InfoLOOB of the embeddings",
        loss="infoloob",
        hopfield=False,
        paper_names=("InfoLOOB",),
        color="#de8f05",
        marker="^",
    ),
    Objective(
        name="cloob",
        title="CLOOB",
        description="InfoLOOB after Hopfield retrieval",
        loss="infoloob",
        hopfield=True,
        paper_names=("CLOOB", "InfoLOOB-Hopfield"),
        color="#d55e00",
        marker="D",
    ),
)
OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in _ENTRIES}


def get_objective(name: str) -> Objective:
    """The entry of an objective; raises ValueError with the names that exist."""
    if name not in OBJECTIVES:
        raise ValueError(f"objective {name!r} is unknown; choose from {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]
