"""A scene: the factors of variation of an image, drawn at random but not independently of each other."""

import random
from dataclasses import dataclass
from typing import Any

from cloob.toy_data.vocabulary import Species, places, species, words

# Probability that a subject is in one of its home places; otherwise the place is uniform.
_HOME_PROBABILITY = 0.4
_HOME_PLACES = 3


@dataclass(frozen=True)
class Scene:
    """The factors that captions can mention, and the seed of all others (position, shade, pose)."""

    kind: str
    position: int  # of the species in its kind: the class index
    place: int
    light: str
    count: int
    size: str
    paint: str
    texture: str
    seed: int
    shifted: bool = False

    @property
    def subject(self) -> Species | None:
        """The species shown; None for a landscape."""
        return species(self.kind)[self.position] if self.kind != "none" else None

    @property
    def factors(self) -> frozenset[str]:
        """The factors that a caption of this scene could mention."""
        subject = self.subject
        if subject is None:
            return frozenset({"place", "light", "landscape"})
        factors = {"species", "place", "light"}
        if words()["kinds"][self.kind]["countable"]:
            factors |= {"count", "size"}
        if subject.has_random_color:
            factors |= {"paint", "texture"}
        return frozenset(factors)


def random_scene(rng: random.Random, **fixed: Any) -> Scene:
    """A random scene; `fixed` sets fields by name, the others are drawn given those."""
    kinds = words()["kinds"]
    kind = fixed.get("kind") or rng.choices(list(kinds), [entry["weight"] for entry in kinds.values()])[0]
    position = rng.randrange(len(species(kind))) if kind != "none" else 0
    position = fixed.get("position", position)
    countable = kinds[kind]["countable"]
    drawn = {
        "kind": kind,
        "position": position,
        "place": _place(rng, kind, position),
        "light": rng.choices(list(words()["lights"]), (60, 18, 10, 12))[0],
        "count": rng.choices((1, 2, 3), (78, 14, 8))[0] if countable else 1,
        "size": rng.choices(list(words()["sizes"]), (75, 25))[0],
        "paint": rng.choice(list(words()["paints"])),
        "texture": rng.choices(list(words()["textures"]), (55, 15, 15, 15))[0],
        "seed": rng.getrandbits(62),
    }
    return Scene(**{**drawn, **fixed})


def _place(rng: random.Random, kind: str, position: int) -> int:
    """The index of the place: every species has three home countries, shared with other species."""
    count = len(places())
    if kind == "none" or rng.random() >= _HOME_PROBABILITY:
        return rng.randrange(count)
    home = random.Random(f"home/{kind}/{position}").sample(range(count), _HOME_PLACES)
    return rng.choice(home)
