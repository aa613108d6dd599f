"""The vocabulary of the toy dataset: species, places, words and colors, from the YAML files here."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

# Kind of subject -> file with its species; the kind `none` is a landscape without a subject.
_FILES = {
    "bird": "birds",
    "flower": "flowers",
    "sign": "signs",
    "car": "cars",
    "action": "actions",
    "object": "objects",
}


@dataclass(frozen=True)
class Species:
    """A class of a kind of subject: its name, synonyms, and how it is drawn."""

    kind: str
    position: int
    names: tuple[str, ...]
    drawing: dict[str, Any]

    @property
    def has_random_color(self) -> bool:
        """Whether color and texture vary between images of the species."""
        return any("paint" in shape for shape in self.drawing.get("shapes", ()))


@cache
def load_vocabulary(name: str) -> Any:
    """The content of `<name>.yaml`."""
    return yaml.safe_load(files("cloob.toy_data").joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def species(kind: str) -> tuple[Species, ...]:
    """The species of a kind, in the label order of its test set; empty for `none`."""
    if kind not in _FILES:
        return ()
    rows = load_vocabulary(_FILES[kind])
    return tuple(Species(kind, position, tuple(row["names"]), row) for position, row in enumerate(rows))


def places() -> list[dict[str, Any]]:
    """The countries, sorted by code."""
    return load_vocabulary("places")


def words() -> dict[str, Any]:
    """Colors, counts, sizes, lights, kinds and unrelated phrases."""
    return load_vocabulary("words")
