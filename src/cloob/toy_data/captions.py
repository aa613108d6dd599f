"""Captions of scenes from a small grammar with synonyms and omissions."""

import random
from dataclasses import dataclass

from cloob.toy_data.scene import Scene
from cloob.toy_data.vocabulary import places, words

_PEOPLE = ("a person", "a man", "a woman", "a boy", "a girl", "someone")
_OPENINGS = ("", "", "", "a photo of ", "picture of ", "this is ", "view of ", "spotted : ")


@dataclass(frozen=True)
class Caption:
    """A caption and the factors of the scene that it mentions; never all of them."""

    text: str
    mentioned: frozenset[str]


def write_caption(scene: Scene, rng: random.Random) -> Caption:
    """A random caption of `scene`."""
    mentioned = _mentioned_factors(scene, rng)
    subject = _subject_phrase(scene, mentioned, rng)
    place = _place_phrase(scene, mentioned, rng)
    light = _light_phrase(scene, mentioned, rng)
    order = rng.random()
    if place and order < 0.2:
        text = f"{place} : {subject} {light}"
    elif light and order < 0.4:
        text = f"{light} , {subject} {place}"
    else:
        text = f"{rng.choice(_OPENINGS)}{subject} {place} {light}"
    return Caption(" ".join(text.split()) + rng.choice(("", "", " .")), mentioned)


def _mentioned_factors(scene: Scene, rng: random.Random) -> frozenset[str]:
    probability = {
        "species": 0.93,
        "place": 0.35,
        "light": 0.2,
        "count": 0.6,
        "size": 0.15,
        "paint": 0.35,
        "texture": 0.25,
    }
    if scene.kind == "none":
        probability |= {"place": 0.95, "landscape": 0.5}
    mentioned = {factor for factor in sorted(scene.factors) if rng.random() < probability[factor]}
    if mentioned == scene.factors:
        mentioned.discard("light")
    return frozenset(mentioned)


def _subject_phrase(scene: Scene, mentioned: frozenset[str], rng: random.Random) -> str:
    subject = scene.subject
    kind = words()["kinds"][scene.kind]
    if subject is None:
        return rng.choice(places()[scene.place]["words"] if "landscape" in mentioned else kind["generic"])
    # The first name is the class name of the test set; synonyms are rarer.
    name = (
        subject.names[0 if rng.random() < 0.8 else -1]
        if "species" in mentioned
        else rng.choice(kind["generic"])
    )
    if scene.kind == "action":
        color = _paint_phrase(scene, mentioned, rng)
        person = rng.choice(_PEOPLE) if "species" in mentioned else "a " + name
        clothes = f"in {color} clothes" if color else ""
        return f"{person} {name if 'species' in mentioned else ''} {clothes}"
    if scene.kind == "sign" and "species" in mentioned:
        name += rng.choice((" sign", " traffic sign", " road sign"))
    noun = f"{_size_phrase(scene, mentioned, rng)} {_paint_phrase(scene, mentioned, rng)} {name}".strip()
    if scene.count > 1:
        number = (
            rng.choice(words()["counts"][scene.count]) if "count" in mentioned else rng.choice(("some", ""))
        )
        return f"{number} {_plural(noun)}"
    return f"{rng.choice(words()['counts'][1])} {noun}"


def _paint_phrase(scene: Scene, mentioned: frozenset[str], rng: random.Random) -> str:
    phrases = []
    if "texture" in mentioned and words()["textures"][scene.texture]:
        phrases.append(rng.choice(words()["textures"][scene.texture]))
    if "paint" in mentioned:
        phrases.append(rng.choice(words()["paints"][scene.paint]))
    return " ".join(phrases)


def _size_phrase(scene: Scene, mentioned: frozenset[str], rng: random.Random) -> str:
    return rng.choice(words()["sizes"][scene.size]) if "size" in mentioned else ""


def _place_phrase(scene: Scene, mentioned: frozenset[str], rng: random.Random) -> str:
    if "place" not in mentioned:
        return ""
    place = places()[scene.place]
    name = place["names"][0 if rng.random() < 0.75 else -1]
    if scene.kind != "none" and rng.random() < 0.2:
        return f"near {rng.choice(place['words'])}"
    return f"in {name}"


def _light_phrase(scene: Scene, mentioned: frozenset[str], rng: random.Random) -> str:
    return rng.choice(words()["lights"][scene.light]) if "light" in mentioned else ""


def _plural(name: str) -> str:
    if name.endswith(("s", "sh", "ch")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"
