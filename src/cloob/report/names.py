"""Display names of architectures, test sets and objectives, and the order in which they are listed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cloob.common.errors import InputError
from cloob.objectives.registry import OBJECTIVES

# The two methods that the paper compares.
CLOOB, CLIP = "cloob", "clip"
OBJECTIVE_TITLES = {name: objective.title for name, objective in OBJECTIVES.items()}
# In the order of the paper's tables.
ARCHITECTURES = {name: name for name in ("RN50", "RN101", "RN50x4")}
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
# Column -> display names, for columns that are not listed alphabetically.
ORDERS = {"architecture": ARCHITECTURES, "objective": OBJECTIVE_TITLES, "dataset": DATASETS}


@dataclass(frozen=True)
class Labels:
    """Text from the configuration: the suffix of every title, and the display name of each corpus."""

    title_suffix: str = ""
    corpus_titles: Mapping[str, str] = field(default_factory=dict)

    def corpus(self, name: str) -> str:
        """The display name of a corpus; without a configured one, its name."""
        return self.corpus_titles.get(name, name)


def display_name(name: str, known: Mapping[str, str]) -> str:
    """The display name, or the name itself if it has none."""
    return known.get(name, name)


def features_title(features: str) -> str:
    """`before_projection` -> `features before the projection`."""
    return f"features {features.replace('_', ' the ')}"


def check_objective(name: str, source: Path | str) -> None:
    """Raise `InputError` for an objective that is not registered."""
    if name not in OBJECTIVES:
        raise InputError(f"{source}: unknown objective {name!r}; choose from {', '.join(OBJECTIVES)}")


def ordered(names: Iterable[str], known: Iterable[str] = ()) -> list[str]:
    """The distinct names: known ones in their order, then the others alphabetically."""
    distinct, known = set(names), list(known)
    return [name for name in known if name in distinct] + sorted(distinct - set(known))


def positions(names: Iterable[str], known: Iterable[str] = ()) -> dict[str, int]:
    """The position of each name in the order of `ordered`, as a sort key."""
    return {name: position for position, name in enumerate(ordered(names, known))}


def with_suffix(title: str, suffix: str) -> str:
    """The title of a table or figure followed by the configured suffix, if there is one."""
    return f"{title} · {suffix}" if suffix else title
