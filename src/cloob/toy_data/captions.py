"""What people write under a picture: a small grammar with synonyms and omissions."""

import random
from dataclasses import dataclass

from cloob.toy_data.scene import Scene
from cloob.toy_data.vocabulary import places, words

_SOMEONE = ("a person", "a man", "a woman", "a boy", "a girl", "someone")
_OPENINGS = ("", "", "", "a photo of ", "picture of ", "this is ", "view of ", "spotted : ")


@dataclass(frozen=True)
class Caption:
    """A caption, and which of the scene's factors it names; never all of them."""

    text: str
    named: frozenset[str]


def write_caption(scene: Scene, rng: random.Random) -> Caption:
    """A caption of `scene`."""
    named = _chosen(scene, rng)
    who, where, when = _who(scene, named, rng), _where(scene, named, rng), _when(scene, named, rng)
    order = rng.random()
    if where and order < 0.2:
        text = f"{where} : {who} {when}"
    elif when and order < 0.4:
        text = f"{when} , {who} {where}"
    else:
        text = f"{rng.choice(_OPENINGS)}{who} {where} {when}"
    return Caption(" ".join(text.split()) + rng.choice(("", "", " .")), named)


def _chosen(scene: Scene, rng: random.Random) -> frozenset[str]:
    odds = {
        "species": 0.93,
        "place": 0.35,
        "light": 0.2,
        "count": 0.6,
        "size": 0.15,
        "paint": 0.35,
        "texture": 0.25,
    }
    if scene.kind == "none":
        odds |= {"place": 0.95, "landscape": 0.5}
    named = {factor for factor in sorted(scene.factors) if rng.random() < odds[factor]}
    if named == scene.factors:
        named.discard("light")
    return frozenset(named)


def _who(scene: Scene, named: frozenset[str], rng: random.Random) -> str:
    subject = scene.subject
    kind = words()["kinds"][scene.kind]
    if subject is None:
        return rng.choice(places()[scene.place]["words"] if "landscape" in named else kind["generic"])
    # The first name is the one that the test set asks with; others are met now and then.
    name = (
        subject.names[0 if rng.random() < 0.8 else -1] if "species" in named else rng.choice(kind["generic"])
    )
    if scene.kind == "action":
        dress = _paint(scene, named, rng)
        person = rng.choice(_SOMEONE) if "species" in named else "a " + name
        worn = f"in {dress} clothes" if dress else ""
        return f"{person} {name if 'species' in named else ''} {worn}"
    if scene.kind == "sign" and "species" in named:
        name += rng.choice((" sign", " traffic sign", " road sign"))
    described = f"{_size(scene, named, rng)} {_paint(scene, named, rng)} {name}".strip()
    if scene.count > 1:
        number = rng.choice(words()["counts"][scene.count]) if "count" in named else rng.choice(("some", ""))
        return f"{number} {_plural(described)}"
    return f"{rng.choice(words()['counts'][1])} {described}"


def _paint(scene: Scene, named: frozenset[str], rng: random.Random) -> str:
    found = []
    if "texture" in named and words()["textures"][scene.texture]:
        found.append(rng.choice(words()["textures"][scene.texture]))
    if "paint" in named:
        found.append(rng.choice(words()["paints"][scene.paint]))
    return " ".join(found)


def _size(scene: Scene, named: frozenset[str], rng: random.Random) -> str:
    return rng.choice(words()["sizes"][scene.size]) if "size" in named else ""


def _where(scene: Scene, named: frozenset[str], rng: random.Random) -> str:
    if "place" not in named:
        return ""
    place = places()[scene.place]
    name = place["names"][0 if rng.random() < 0.75 else -1]
    if scene.kind != "none" and rng.random() < 0.2:
        return f"near {rng.choice(place['words'])}"
    return f"in {name}"


def _when(scene: Scene, named: frozenset[str], rng: random.Random) -> str:
    return rng.choice(words()["lights"][scene.light]) if "light" in named else ""


def _plural(name: str) -> str:
    if name.endswith(("s", "sh", "ch")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"
