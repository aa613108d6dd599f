"""What the small world consists of: things, places, words and colours, from the YAML files beside this."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

# Kind of subject -> the file that lists its species; `none` is a landscape without a subject.
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
    """One class of one kind: its name, other names for it, and how it is drawn."""

    kind: str
    position: int
    names: tuple[str, ...]
    drawing: dict[str, Any]

    @property
    def painted(self) -> bool:
        """Whether a picture of it has a colour and a texture of its own choice."""
        return any("paint" in shape for shape in self.drawing.get("shapes", ()))


@cache
def listed(name: str) -> Any:
    """The content of `<name>.yaml`."""
    return yaml.safe_load(files("cloob.toy_data").joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def species(kind: str) -> tuple[Species, ...]:
    """All species of a kind, in the order of the labels of its test set; empty for `none`."""
    if kind not in _FILES:
        return ()
    rows = listed(_FILES[kind])
    return tuple(Species(kind, position, tuple(row["names"]), row) for position, row in enumerate(rows))


def places() -> list[dict[str, Any]]:
    """The countries, in the order of their codes."""
    return listed("places")


def words() -> dict[str, Any]:
    """Colours, counts, sizes, lights, kinds and chatter."""
    return listed("words")
