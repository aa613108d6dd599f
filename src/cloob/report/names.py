"""How runs and test sets are called on paper, and the order they stand in."""

from collections.abc import Iterable
from pathlib import Path

from cloob.common.errors import InputError
from cloob.objectives import registry

OBJECTIVES = {objective.name: objective.title for objective in registry.OBJECTIVES.values()}
CORPORA = {"cc3m": "Conceptual Captions", "yfcc15m": "YFCC"}
# As they are called everywhere, in the order of the paper's tables.
ARCHITECTURES = {name: name for name in ("RN50", "RN101", "RN50x4")}
# In the order of the paper's tables.
DATASETS = {
    "birdsnap": "Birdsnap",
    "country211": "Country211",
    "flowers102": "Flowers102",
    "gtsrb": "GTSRB",
    "ucf101": "UCF101",
    "stanford_cars": "Stanford Cars",
    "imagenet": "ImageNet",
    "imagenetv2": "ImageNetV2 (matched-frequency)",
    "imagenetv2_threshold": "ImageNetV2 (threshold-0.7)",
    "imagenetv2_top_images": "ImageNetV2 (top-images)",
}
# As config/paper_results.csv calls them. Which variant of ImageNetV2 the paper took is not known.
PAPER_DATASETS = {name: label.partition(" (")[0].replace(" ", "") for name, label in DATASETS.items()}


def label(name: str, known: dict[str, str]) -> str:
    """The printed form of a name; one that is not known stands for itself."""
    return known.get(name, name)


def check_objective(name: str, path: Path | str) -> None:
    """Raise `InputError` for an objective that has no place in tables and figures."""
    if name not in OBJECTIVES:
        raise InputError(f"{path}: objective {name!r} is unknown; there are {', '.join(OBJECTIVES)}")


def in_order(names: Iterable[str], known: dict[str, str]) -> list[str]:
    """The distinct names: the known ones in their order, then the others by alphabet."""
    distinct = set(names)
    return [name for name in known if name in distinct] + sorted(distinct - set(known))


def ranks(names: Iterable[str], known: dict[str, str]) -> dict[str, int]:
    """Where each of the names stands in that order, to sort by."""
    return {name: rank for rank, name in enumerate(in_order(names, known))}


def titled(what: str, mark: str) -> str:
    """The title of a table or figure, with the mark that says where its numbers come from."""
    return f"{what} · {mark}" if mark else what
