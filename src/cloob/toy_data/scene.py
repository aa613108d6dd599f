"""A scene: the factors of one picture, drawn at random but not independently of each other."""

import random
from dataclasses import dataclass

from cloob.toy_data.vocabulary import Species, places, species, words

# How often a subject is met in one of its favorite places rather than anywhere.
_AT_HOME = 0.4
_FAVOURITES = 3


@dataclass(frozen=True)
class Scene:
    """Everything that a picture shows, and the seed of what nobody would name (position, shade, pose)."""

    kind: str
    position: int
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
        """The factors that a caption of this scene could name."""
        subject = self.subject
        if subject is None:
            return frozenset({"place", "light", "landscape"})
        named = {"species", "place", "light"}
        if words()["kinds"][self.kind]["countable"]:
            named |= {"count", "size"}
        if subject.painted:
            named |= {"paint", "texture"}
        return frozenset(named)


def random_scene(rng: random.Random, **fixed: object) -> Scene:
    """A scene of the world; `fixed` sets factors by name, the others are drawn around them."""
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
    """Where it is: each species is at home in three countries, which it shares with some others."""
    count = len(places())
    if kind == "none" or rng.random() >= _AT_HOME:
        return rng.randrange(count)
    home = random.Random(f"home/{kind}/{position}").sample(range(count), _FAVOURITES)
    return rng.choice(home)
